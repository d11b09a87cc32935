module github.com/revocast/revocast/loadtest

go 1.26.0
