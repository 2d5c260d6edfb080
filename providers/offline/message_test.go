package offline_test

import (
	"encoding/json"
	"fmt"
)

// message is what a chat completion says, or the tool that it calls.
func message(answer []byte) string {
	var c struct {
		Choices []struct {
			Message struct {
				Content   *string
				ToolCalls []struct {
					Function struct{ Name, Arguments string }
				} `json:"tool_calls"`
			}
		}
	}
	if err := json.Unmarshal(answer, &c); err != nil || len(c.Choices) == 0 {
		return string(answer)
	}
	m := c.Choices[0].Message
	if m.Content != nil {
		return fmt.Sprintf("%q", *m.Content)
	}
	return fmt.Sprintf("%s(%s)", m.ToolCalls[0].Function.Name, m.ToolCalls[0].Function.Arguments)
}
