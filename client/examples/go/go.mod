module bilevel.example

go 1.24
