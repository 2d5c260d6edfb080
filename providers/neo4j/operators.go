package neo4j

import (
	"regexp"
	"strings"
)

// operatorOf is the name of a step without the database's, as in
// "Expand(All)@neo4j".
func operatorOf(s string) string {
	name, _, _ := strings.Cut(s, "@")
	return name
}

// bound finds the upper bound of a path, as in "(a)-[r*1..3]->(b)".
var bound = regexp.MustCompile(`\*\d*\.\.\d{1,2}[\]\s}]|\*[1-9]\d?\]|\{\d*, ?\d{1,2}\}`)

// named is a name in quotes, in which anything may stand, a bound too.
var named = regexp.MustCompile("`(?:[^`]|``)*`")

// bounded reports whether the path that a step follows has an upper bound. What
// the path must meet stands behind it.
func bounded(details string) bool {
	path, _, _ := strings.Cut(named.ReplaceAllString(details, "_"), " WHERE ")
	return bound.MatchString(path)
}

// shortest finds paths that are looked for within a value or a condition, where they
// are no step of their own; shortestBounded those of them with an upper bound.
var (
	shortest        = regexp.MustCompile(`(?i)shortestPaths?\(`)
	shortestBounded = regexp.MustCompile(`(?i)shortestPaths?\(\([^()]*\)<?-\[[^][{]*\*\d*\.\.\d{1,2}\]->?\([^()]*\)\)`)
)

// endless reports whether a value or a condition looks for a path of any length.
func endless(details string) bool {
	details = named.ReplaceAllString(details, "_")
	return len(shortest.FindAllStringIndex(details, -1)) > len(shortestBounded.FindAllStringIndex(details, -1))
}

// walks are the steps that follow paths of any length.
var walks = set(`
	ShortestPath Repeat(Trail)
	VarLengthExpand(All) VarLengthExpand(Into) VarLengthExpand(Pruning) VarLengthExpand(Pruning,BFS,All) VarLengthExpand(Pruning,BFS)
	VarLengthExpand(Pruning,BFS,Into) OptionalVarLengthExpand(All)`)

// harmless are the steps that read a bounded part of the graph, or only work
// on rows. Scans of everything are missing on purpose, as are all that write,
// load, show or end anything.
var harmless = set(`
	Aggregation EagerAggregation OrderedAggregation Anti AntiConditionalApply AntiSemiApply Apply Argument AssertSameNode
	AssertSameRelationship AssertingMultiNodeIndexSeek CacheProperties CartesianProduct ConditionalApply Distinct OrderedDistinct
	Eager EmptyResult EmptyRow ExhaustiveLimit Expand(All) Expand(Into) Filter Selection LeftOuterHashJoin RightOuterHashJoin
	LetAntiSemiApply LetSelectOrAntiSemiApply LetSelectOrSemiApply LetSemiApply Limit NodeHashJoin NodeLeftOuterHashJoin
	NodeRightOuterHashJoin ValueHashJoin NonFuseable NonPipelined NullifyMetadata Optional OptionalExpand(All) OptionalExpand(Into)
	PartialSort PartialTop PreserveOrder ProduceResults ProjectEndpoints Projection RollUpApply SelectOrAntiSemiApply
	SelectOrSemiApply SemiApply Skip Sort Top Top1WithTies TriadicBuild TriadicFilter TriadicSelection Union OrderedUnion Unwind

	NodeByLabelScan PartitionedNodeByLabelScan UnionNodeByLabelsScan IntersectionNodeByLabelsScan SubtractionNodeByLabelsScan
	NodeByElementIdSeek NodeByIdSeek MultiNodeIndexSeek NodeIndexContainsScan NodeIndexEndsWithScan NodeIndexScan NodeIndexSeek
	NodeIndexSeekByRange NodeUniqueIndexSeek NodeUniqueIndexSeek(Locking) NodeUniqueIndexSeekByRange
	NodeCountFromCountStore RelationshipCountFromCountStore

	DirectedRelationshipByElementIdSeek DirectedRelationshipByIdSeek DirectedRelationshipIndexContainsScan
	DirectedRelationshipIndexEndsWithScan DirectedRelationshipIndexScan DirectedRelationshipIndexSeek
	DirectedRelationshipIndexSeekByRange DirectedRelationshipTypeScan DirectedUnionRelationshipTypesScan
	UndirectedRelationshipByElementIdSeek UndirectedRelationshipByIdSeek UndirectedRelationshipIndexContainsScan
	UndirectedRelationshipIndexEndsWithScan UndirectedRelationshipIndexScan UndirectedRelationshipIndexSeek
	UndirectedRelationshipIndexSeekByRange UndirectedRelationshipTypeScan UndirectedUnionRelationshipTypesScan`)

func set(names string) map[string]bool {
	out := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		out[name] = true
	}
	return out
}
