"""Append further logs to a data set, exactly as if all logs had been prepared at once.

append           the public call: checks, the four stages, and recovery after a kill
merge_stagings   one staging from that of the former logs and that of the new ones
drift            what the former hot set is worth on the new rows, and which ids changed
"""
