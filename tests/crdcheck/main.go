// crdcheck judges documents as the API server would: it loads a CustomResourceDefinition with the API server's own
// library, checks the definition itself, and then every document of a JSON list on standard input, as on create with
// strict field validation. It prints one JSON verdict.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/yaml"
)

// Not a mistake of its own: the API server says so beside each that keeps it from looking further.
const rulesSkipped = "some validation rules were not checked because the object was invalid; " +
	"correct the existing errors to complete validation"

type problem struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

type verdict struct {
	Problems []problem `json:"problems"`
	Cells    []any     `json:"cells,omitempty"`
}

type answer struct {
	Definition []problem `json:"definition"`
	Columns    []string  `json:"columns"`
	Documents  []verdict `json:"documents"`
}

type judge struct {
	kind       schema.GroupVersionKind
	structural *structuralschema.Structural
	validate   func(*unstructured.Unstructured) field.ErrorList
	table      interface {
		ConvertToTable(context.Context, runtime.Object, runtime.Object) (*metav1.Table, error)
	}
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "crdcheck:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var documents []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&documents); err != nil {
		return err
	}
	crd, definition, err := load(text)
	if err != nil {
		return err
	}
	out := answer{Definition: problems(definition), Documents: []verdict{}}
	if len(definition) == 0 {
		judge, columns, err := newJudge(crd)
		if err != nil {
			return err
		}
		out.Columns = columns
		for _, document := range documents {
			out.Documents = append(out.Documents, judge.judge(document))
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// load reads the definition and says what the API server has against it, CEL cost included.
func load(text []byte) (*apiextensions.CustomResourceDefinition, field.ErrorList, error) {
	var external apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &external); err != nil {
		return nil, nil, err
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&external)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&external.Spec)
	var crd apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&external, &crd, nil); err != nil {
		return nil, nil, err
	}
	// The API server's own strategy fills this in on create.
	crd.Status.StoredVersions = []string{crd.Spec.Versions[0].Name}
	return &crd, crdvalidation.ValidateCustomResourceDefinition(context.Background(), &crd), nil
}

func newJudge(crd *apiextensions.CustomResourceDefinition) (*judge, []string, error) {
	version := crd.Spec.Versions[0].Name
	kind := schema.GroupVersionKind{Group: crd.Spec.Group, Version: version, Kind: crd.Spec.Names.Kind}
	external, err := apiextensions.GetSchemaForVersion(crd, version)
	if err != nil {
		return nil, nil, err
	}
	structural, err := structuralschema.NewStructural(external.OpenAPIV3Schema)
	if err != nil {
		return nil, nil, err
	}
	validator, _, err := validation.NewSchemaValidator(external.OpenAPIV3Schema)
	if err != nil {
		return nil, nil, err
	}
	subresources, err := apiextensions.GetSubresourcesForVersion(crd, version)
	if err != nil {
		return nil, nil, err
	}
	strategy := customresource.NewStrategy(nil, false, kind, validator, nil, structural, subresources.Status, nil, nil)

	var columns []apiextensionsv1.CustomResourceColumnDefinition
	for _, column := range append(crd.Spec.AdditionalPrinterColumns, crd.Spec.Versions[0].AdditionalPrinterColumns...) {
		columns = append(columns, apiextensionsv1.CustomResourceColumnDefinition{
			Name: column.Name, Type: column.Type, Format: column.Format, Description: column.Description,
			Priority: column.Priority, JSONPath: column.JSONPath,
		})
	}
	table, err := tableconvertor.New(columns)
	if err != nil {
		return nil, nil, err
	}
	empty, err := table.ConvertToTable(context.Background(), &unstructured.UnstructuredList{}, nil)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, column := range empty.ColumnDefinitions {
		names = append(names, column.Name)
	}
	ctx := genericrequest.WithRequestInfo(context.Background(), &genericrequest.RequestInfo{IsResourceRequest: true})
	validate := func(u *unstructured.Unstructured) field.ErrorList { return strategy.Validate(ctx, u) }
	return &judge{kind: kind, structural: structural, validate: validate, table: table}, names, nil
}

// judge takes the steps of the API server's decoder and create strategy, in their order. Status is kept, as if it had
// been written through its subresource.
func (j *judge) judge(text []byte) verdict {
	var value any
	if err := utiljson.Unmarshal(text, &value); err != nil {
		return verdict{Problems: []problem{{Message: err.Error()}}}
	}
	content, ok := value.(map[string]any)
	if !ok {
		return verdict{Problems: []problem{{Message: "not an object"}}}
	}
	// Nothing but this kind is ever sent to this validation: the API server looks kinds up first.
	u := &unstructured.Unstructured{Object: content}
	if u.GroupVersionKind() != j.kind {
		return verdict{Problems: []problem{{Message: fmt.Sprintf("no matches for %v", u.GroupVersionKind())}}}
	}
	options := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	if unknown := pruning.PruneWithOptions(u.Object, j.structural, true, options); len(unknown) > 0 {
		found := []problem{}
		for _, path := range unknown {
			found = append(found, problem{Path: path, Message: "unknown field"})
		}
		return verdict{Problems: found}
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, j.structural)
	defaulting.Default(u.Object, j.structural)
	if errs := j.validate(u); len(errs) > 0 {
		return verdict{Problems: problems(errs)}
	}
	return verdict{Problems: []problem{}, Cells: j.cells(u)}
}

func (j *judge) cells(u *unstructured.Unstructured) []any {
	table, err := j.table.ConvertToTable(context.Background(), u, nil)
	if err != nil {
		return []any{err.Error()}
	}
	return table.Rows[0].Cells
}

func problems(errs field.ErrorList) []problem {
	found := []problem{}
	for _, err := range errs {
		if err.Detail != rulesSkipped {
			found = append(found, problem{Path: err.Field, Message: err.ErrorBody()})
		}
	}
	return found
}
