package rag

import "unicode/utf8"

// Tokens estimates how many tokens a text is, rather too many than too few: one
// for each character of a script like Chinese, one for each 3.5 others, and a
// tenth more.
func Tokens[S string | []byte](text S) int {
	return (wide(text)*110 + 99) / 100
}

// wide is the estimate before the tenth, rounded up.
func wide[S string | []byte](text S) int {
	dense, others := 0, 0
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			others++
			i++
			continue
		}
		// The first byte tells the length; E3 and up is where such scripts are.
		n := 2
		switch {
		case c >= 0xf0:
			n = 4
			dense++
		case c >= 0xe0:
			n = 3
			if c >= 0xe3 {
				dense++
			} else {
				others++
			}
		default:
			others++
		}
		i += n
	}
	return dense + (others*2+6)/7
}

// Fit returns the longest beginning of text, in whole characters, that is
// estimated at no more than limit tokens.
func Fit(text string, limit int) string {
	if Tokens(text) <= limit {
		return text
	}
	low, high := 0, len(text) // text[:low] fits, text[:high] does not
	for high-low > 1 {
		mid := (low + high) / 2
		for mid > low && !utf8.RuneStart(text[mid]) {
			mid--
		}
		if mid == low {
			break
		}
		if Tokens(text[:mid]) <= limit {
			low = mid
		} else {
			high = mid
		}
	}
	return text[:low]
}
