// The benchmarks are a module of their own, so that the rivals they measure
// against stay out of the module graph of Millrace's users.
module github.com/millrace/millrace/benchmarks

go 1.26.0

require github.com/millrace/millrace v0.0.0

replace github.com/millrace/millrace => ../
