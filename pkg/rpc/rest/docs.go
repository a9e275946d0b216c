package rest

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
)

//go:embed docs.html
var docsHTML string

//go:embed docs.css
var docsCSS string

// The part of OpenAPI 2.0 that the page shows.
type spec struct {
	Tags        []tag
	Paths       map[string]map[string]operation
	Definitions map[string]schema
}

type tag struct{ Name, Description string }

type operation struct {
	Summary    string
	Parameters []parameter
	Responses  map[string]struct{ Schema schema }
	Tags       []string
}

type parameter struct {
	Name, In, Type, Description string
	Required                    bool
	Schema                      schema
}

type schema struct {
	Ref         string `json:"$ref"`
	Type        string
	Format      string
	Description string
	Items       *schema
	Properties  map[string]schema
}

// Name is the definition a reference points at.
func (s schema) Name() string { return s.Ref[strings.LastIndex(s.Ref, "/")+1:] }

// Element is the schema itself, or that of a list's elements.
func (s schema) Element() schema {
	if s.Items != nil {
		return *s.Items
	}
	return s
}

type section struct {
	tag
	Routes []route
}

type route struct {
	Method, Path, Status string
	operation
	Answer schema
}

// route is the operation with what it answers when all is well.
func (o operation) route(method, path string) route {
	for status, response := range o.Responses {
		if strings.HasPrefix(status, "2") {
			return route{method, path, status, o, response.Schema}
		}
	}
	return route{Method: method, Path: path, operation: o}
}

// renderDocs makes a page of plain HTML from the OpenAPI description, once: no scripts, nothing loaded from anywhere.
func renderDocs(openAPI string) (http.Handler, error) {
	var s spec
	if err := json.Unmarshal([]byte(openAPI), &s); err != nil {
		return nil, err
	}
	page, err := template.New("docs").Parse(docsHTML)
	if err != nil {
		return nil, err
	}
	var html bytes.Buffer
	css := template.CSS(docsCSS) //nolint:gosec // our own file, built in
	err = page.Execute(&html, map[string]any{"CSS": css, "Sections": s.sections(), "Definitions": s.Definitions})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(docsCSS))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		_, _ = w.Write(html.Bytes())
	}), nil
}

func (s spec) sections() (sections []section) {
	for _, t := range s.Tags {
		found := section{tag: t}
		for _, path := range slices.Sorted(maps.Keys(s.Paths)) {
			for _, method := range slices.Sorted(maps.Keys(s.Paths[path])) {
				op := s.Paths[path][method]
				if slices.Contains(op.Tags, t.Name) {
					found.Routes = append(found.Routes, op.route(strings.ToUpper(method), path))
				}
			}
		}
		if len(found.Routes) > 0 {
			sections = append(sections, found)
		}
	}
	return sections
}
