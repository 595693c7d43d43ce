"""Profiling: count exactly how often training reads each value, and rank values by it.

stage            `profile`: from a staging to frequencies, as one stage
parameters       its parameters: the splits, min_count, the sample
splits           which rows are train, valid and test, by time and position
split_counts     how often each entry of a part's dictionaries occurs in each split
dictionary_tree  merged dictionaries of many parts, so that a task opens few
value_ranges     intervals of a table's values, which tasks count each by itself
counting         merge the dictionaries of all parts, and rank values by their accesses
moments          the mean and standard deviation of dense columns that learn them
histogram        how many values have each number of accesses, which fixes their ranks
merge_ranges     one order for the values of a table that was counted in several ranges
part_ranks       ranks of merged dictionaries' entries, taken to those of the parts
frequencies      what the stage writes, and how later stages read it
"""
