module llmhub/benchmarks/loadgen

go 1.22
