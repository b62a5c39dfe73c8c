package server

// operations returns the operations of the API, by name.
func operations() map[string]operation {
	return map[string]operation{
		"DescribeStreamSummary": unary((*Server).describeStreamSummary),
	}
}
