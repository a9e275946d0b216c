package flow

import (
	"fmt"
	"strings"
)

// Mermaid draws the graph as a Mermaid flowchart. Steps with an effect have double borders.
func (g *Graph[S]) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	for _, s := range g.steps {
		shape := "%s[%s]"
		if s.effect {
			shape = "%s[[%s]]"
		}
		fmt.Fprintf(&b, "    "+shape+"\n", s.name, s.name)
	}
	for _, s := range g.steps {
		for _, e := range s.out {
			if e.label == "" {
				fmt.Fprintf(&b, "    %s --> %s\n", s.name, e.to)
			} else {
				fmt.Fprintf(&b, "    %s -- %s --> %s\n", s.name, e.label, e.to)
			}
		}
	}
	return b.String()
}
