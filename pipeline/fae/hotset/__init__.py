"""Stage 3, `fae calibrate`: choose the embedding rows that are worth a byte budget on the GPU.

stage           `calibrate`: rank the rows, spend the budget, and write the hot set
hot_set         the hot set that the stage writes, and its files
parameters      the options of the stage, checked
problem         what a rule sees: rows with their costs, samples, an objective and a budget
loads           the worth of samples distributed among rows, and the bound that it proves
problem_data    builds a problem from the frequencies and the staged parts
contested       the samples that rows hot in any case leave open, read by tasks
rules/          ways to rank the rows: by samples (peeling), accesses, threshold, per table
selection       the rows that the budget buys, and the ids that put them first
coverage        how many samples of each split are hot, for any number of hot rows
curve           hot share against budget, its upper bound, and its knee
cold_hash       hashed ids, with which the cold values of a table share rows
device_profile  seconds of a hot sample, a cold sample and a cold access on a machine
"""
