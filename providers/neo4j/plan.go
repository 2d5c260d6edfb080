package neo4j

import (
	"reflect"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j/db"
)

// A step is one of a plan, with those that it takes its rows from.
type step struct {
	operator, details string
	from              []step
}

// planOf is the topmost step of a plan. It reports false if there is none, or if
// the driver keeps it in another way than the one known here.
//
// The driver's own Plan.Children will not do: it gives the last child in the place
// of each (v5.28.4: a pointer to the variable of a loop, by the rules before Go
// 1.22), so that in all branches but the last anything could stand unseen.
func planOf(p driver.Plan) (step, bool) {
	v := reflect.ValueOf(p)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct || v.Elem().NumField() != 1 {
		return step{}, false
	}
	kept := v.Elem().Field(0)
	if kept.Type() != reflect.TypeFor[*db.Plan]() || kept.IsNil() {
		return step{}, false
	}
	return stepOf(kept.Elem()), true
}

// stepOf reads a db.Plan.
func stepOf(v reflect.Value) step {
	s := step{operator: v.FieldByName("Operator").String()}
	if d := v.FieldByName("Arguments").MapIndex(reflect.ValueOf("Details")); d.IsValid() && d.Elem().Kind() == reflect.String {
		s.details = d.Elem().String()
	}
	children := v.FieldByName("Children")
	for i := range children.Len() {
		s.from = append(s.from, stepOf(children.Index(i)))
	}
	return s
}
