"""What tests and fault campaigns share: small logs, an oracle, fakes of devices and stores."""
