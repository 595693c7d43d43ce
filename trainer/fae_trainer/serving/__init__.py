"""Write a trained run as a model that scores without this package.

scoring_model    a run's tables and network as one module, from dense features and ids to scores
model_files      that module as a program of torch.export, as ONNX, or its weights as safetensors
"""
