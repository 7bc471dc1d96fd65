// promcheck judges metrics and rules as `promtool check metrics` and `promtool check rules` do, with the libraries those
// are made of (promtool itself cannot be installed by `go install`). Standard input is an exposition in the text format,
// or the groups of a rule file; one complaint a line goes to standard output, nothing where all is well.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
)

func main() {
	if len(os.Args) != 2 || (os.Args[1] != "metrics" && os.Args[1] != "rules") {
		fmt.Fprintln(os.Stderr, "usage: promcheck metrics|rules < FILE")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "promcheck:", err)
		os.Exit(1)
	}
}

func check(what string, input io.Reader) error {
	if what == "metrics" {
		problems, err := promlint.New(input).Lint()
		for _, problem := range problems {
			fmt.Printf("%s: %s\n", problem.Metric, problem.Text)
		}
		return err
	}
	text, err := io.ReadAll(input)
	if err != nil {
		return err
	}
	_, problems := rulefmt.Parse(text, false, model.LegacyValidation)
	for _, problem := range problems {
		fmt.Println(problem)
	}
	return nil
}
