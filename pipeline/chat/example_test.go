package chat_test

import (
	"fmt"

	"github.com/headrace/headrace/pipeline/chat"
)

func Example() {
	body := []byte(`{ "model": "small",  "temperature": 0.70, "messages": [{"role": "user", "content": "Hi"}] }`)
	var r chat.Request
	if err := r.Scan(body); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", r.Model())
	fmt.Printf("%s\n", r.AppendEdit(nil, chat.Edit{Key: "model", Value: []byte(`"large"`)}))

	err := r.Scan([]byte("{\"model\": \"small\",\n\"model\": \"large\"}"))
	fmt.Println(err)
	// Output:
	// small
	// { "model": "large",  "temperature": 0.70, "messages": [{"role": "user", "content": "Hi"}] }
	// duplicate key "model": send each top-level key once (line 2, column 1, byte 19)
}
