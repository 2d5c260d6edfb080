package headrace

import "embed"

// SampleCorpus is examples/corpus: a few documents on mills, and in
// questions.jsonl questions about them. Commands ingest and eval use it where
// they are given nothing else.
//
//go:embed examples/corpus
var SampleCorpus embed.FS
