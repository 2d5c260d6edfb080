package faults

import (
	"strconv"
	"strings"
	"time"
)

// A kind is a way in which an upstream may behave, and what a client must then
// see. An outcome is one of
//
//	whole         the complete answer
//	broken CODE   a stream that began, ended by an error event
//	STATUS CODE   an error; CODE may be left out
//
// and several may be allowed, with | between them. Empty: not asked.
type kind struct {
	do      func(w *wire) (keep bool)
	json    string // what one upstream alone comes to, for an answer in one piece
	sse     string // the same for a stream
	final   bool   // it is the request's own fault: no other upstream is asked
	slow    bool   // it takes as long as the gateway waits
	refuses bool   // there is no connection at all: the target is chosen by the model's name
}

// Limits of the gateways under test.
const (
	limitConnect = time.Second
	limitFirst   = time.Second
	limitIdle    = time.Second
	limitStream  = 3 * time.Second
	hedgeAfter   = 150 * time.Millisecond // a second upstream is asked
	limitAnswer  = 256 << 10
	limitEvent   = 64 << 10
)

// Secrets that must not show.
const (
	canaryKey    = "sk-canary-upstream-7f3a"
	canaryHeader = "canary-header-51bd"
	canaryClient = "sk-canary-client-90ce"
	canaryBytes  = "canary-bytes-of-the-upstream"
)

const (
	unreachable = "502 upstream_unreachable"
	badTLS      = "502 upstream_tls"
	protocol    = "502 upstream_protocol"
	cut         = "502 upstream_cut"
	cutStream   = "broken upstream_cut"
	badStream   = "broken upstream_protocol"
	late        = "504 upstream_timeout"
	lateStream  = "broken upstream_timeout"
	tooLarge    = "502 upstream_too_large"
	whole       = "whole"
)

var kinds = map[string]kind{}

// both is a kind that comes to the same for answers and streams.
func both(name, want string, do func(w *wire) bool) {
	kinds[name] = kind{do: do, json: want, sse: want}
}

// bytesOnly answers with the given bytes and closes the connection.
func bytesOnly(name, want string, parts ...string) {
	both(name, want, func(w *wire) bool {
		w.say(parts...)
		return false
	})
}

// broken answers with a stream that begins well and goes on as do says.
func broken(name, want string, do func(w *wire) bool) {
	kinds[name] = kind{sse: want, do: func(w *wire) bool {
		w.say(sseHead)
		return do(w)
	}}
}

// cutJSON answers with JSON that does not come to its end.
func cutJSON(name, want string, do func(w *wire, b string) bool) {
	kinds[name] = kind{json: want, do: func(w *wire) bool { return do(w, w.answer()) }}
}

// status answers with an error as upstreams send it.
func status(name, want string, line, field, body string) {
	kinds[name] = kind{json: want, sse: want, final: strings.HasPrefix(line, "4") && !strings.HasPrefix(line, "429"), do: func(w *wire) bool {
		return w.say("HTTP/1.1 ", line, "\r\nContent-Type: application/json\r\n", field, length(body), "\r\n", body)
	}}
}

// listKinds fills kinds. sinkhole is an address that nobody may connect to.
func listKinds(sinkhole string) {
	connectionKinds()
	headKinds()
	answerKinds()
	jsonKinds()
	statusKinds(sinkhole)
	streamEnds()
	streamKinds()
	slowKinds()
	otherKinds()
}

func connectionKinds() {
	for name, want := range map[string]string{
		"refused": unreachable, "dns": unreachable, "tls-expired": badTLS, "tls-name": badTLS, "tls-to-plain": badTLS, "plain-to-tls": protocol + "|" + cut,
	} {
		kinds[name] = kind{json: want, sse: want, refuses: true, do: (*wire).good}
	}
	both("fin-before-head", cut, func(*wire) bool { return false })
	both("reset-before-head", cut, (*wire).reset)
	both("fin-in-head", cut, func(w *wire) bool {
		w.say("HTTP/1.1 200 OK\r\nX-Bytes: " + canaryBytes)
		return false
	})
	both("early-413", "413", nil) // see wire.early
	k := kinds["early-413"]
	k.final = true
	kinds["early-413"] = k
}

func headKinds() {
	ok := "HTTP/1.1 200 OK\r\nX-Bytes: " + canaryBytes + "\r\n"
	bytesOnly("garbage", protocol, "SSH-2.0-OpenSSH_9.6 "+canaryBytes+"\r\n\r\n")
	bytesOnly("old-html", protocol, "<html>"+canaryBytes+"</html>")
	bytesOnly("status-999", protocol, "HTTP/1.1 999 "+canaryBytes+"\r\nContent-Length: 2\r\n\r\n{}")
	bytesOnly("status-099", protocol, "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\n{}")
	bytesOnly("status-words", protocol, "HTTP/1.1 OK "+canaryBytes+"\r\nContent-Length: 2\r\n\r\n{}")
	bytesOnly("status-long", protocol, "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}")
	bytesOnly("version-2", protocol, "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	for name, value := range map[string]string{
		"word": "12x", "minus": "-5", "plus": "+5", "hex": "0x10", "empty": "", "list": "2, 2", "overflow": "99999999999999999999", "fraction": "2.0",
	} {
		bytesOnly("length-"+name, protocol, ok, "Content-Length: "+value+"\r\n\r\n{}")
	}
	bytesOnly("length-twice", protocol, ok, "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ")
	bytesOnly("length-and-chunks", protocol, ok, "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", chunk("{}"), lastChunk)
	bytesOnly("coding-gzip", protocol, ok, "Transfer-Encoding: gzip, chunked\r\n\r\n", chunk("{}"), lastChunk)
	bytesOnly("coding-twice", protocol, ok, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", chunk("{}"), lastChunk)
	bytesOnly("coding-unknown", protocol, ok, "Transfer-Encoding: "+canaryBytes+"\r\n\r\n{}")
	bytesOnly("bare-lf", protocol, "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}")
	bytesOnly("nul", protocol, ok, "X: a\x00b\r\nContent-Length: 2\r\n\r\n{}")
	bytesOnly("bare-cr", protocol, ok, "X: a\rContent-Length: 9\r\nContent-Length: 2\r\n\r\n{}")
	bytesOnly("folded", protocol, ok, "X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}")
	bytesOnly("blank-in-name", protocol, ok, "Content-Length : 2\r\n\r\n{}")
	bytesOnly("no-colon", protocol, ok, canaryBytes+"\r\nContent-Length: 2\r\n\r\n{}")
	bytesOnly("switching", protocol, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", canaryBytes)
	both("endless-head", "502", func(w *wire) bool {
		w.say(ok)
		for w.say("X-More: ", strings.Repeat("x", 1000), "\r\n") {
		}
		return false
	})
	both("endless-line", "502", func(w *wire) bool {
		w.say(ok, "X: ")
		for w.say(strings.Repeat("x", 1000)) {
		}
		return false
	})
	both("endless-interim", "502", func(w *wire) bool {
		for w.say("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n") {
		}
		return false
	})
	both("few-interim", whole, func(w *wire) bool {
		w.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
		return w.good()
	})
}

// answerKinds are whole answers in unusual wrapping.
func answerKinds() {
	both("good", whole, (*wire).good)
	both("closing", whole, func(w *wire) bool {
		if w.stream {
			w.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n", w.events(-1), done)
			return false
		}
		w.say(jsonHead, "Connection: close\r\n\r\n", w.answer())
		return false
	})
	both("split-everywhere", whole, func(w *wire) bool {
		if !w.stream {
			w.say(jsonHead, "Transfer-Encoding: chunked\r\n\r\n")
		} else {
			w.say(sseHead)
		}
		body := w.answer()
		if w.stream {
			body = w.events(-1) + done
		}
		for i := range len(body) {
			w.say(chunk(body[i : i+1])) // a chunk for each byte
		}
		return w.say(lastChunk)
	})
	both("trailer", whole, func(w *wire) bool {
		body, head := w.answer(), jsonHead+"Transfer-Encoding: chunked\r\n\r\n"
		if w.stream {
			body, head = w.events(-1)+done, sseHead
		}
		return w.say(head, chunk(body), "0;x=y\r\nX-Sum: 1\r\n\r\n")
	})
	both("answer-too-many", whole, func(w *wire) bool { // what follows is nobody's answer
		foreign := wholeAnswer("foreign-"+w.marker, w.o.name)
		foreign = jsonHead + length(foreign) + "\r\n" + foreign
		// In one write: what comes after the connection has been used again
		// cannot be told from an answer.
		if w.stream {
			return w.say(sseHead, chunk(w.events(-1)+done), lastChunk, foreign)
		}
		return w.say(jsonHead, length(w.answer()), "\r\n", w.answer(), foreign)
	})
	both("gzip", protocol, func(w *wire) bool {
		head, body := jsonHead, w.answer()
		if w.stream {
			head, body = strings.Replace(jsonHead, "application/json", "text/event-stream", 1), w.events(-1)+done
		}
		return w.say(head, "Content-Encoding: gzip\r\n", length(body), "\r\n", body)
	})
	both("html", protocol, func(w *wire) bool {
		b := "<html><body>" + canaryBytes + "</body></html>"
		return w.say("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", length(b), "\r\n", b)
	})
	both("empty", protocol+"|502 upstream_error", func(w *wire) bool {
		if w.stream {
			return w.say(sseHead, lastChunk)
		}
		return w.say(jsonHead, "Content-Length: 0\r\n\r\n")
	})
	both("204", protocol, func(w *wire) bool { return w.say("HTTP/1.1 204 No Content\r\n\r\n") })
	both("204-body", protocol, func(w *wire) bool {
		b := w.answer()
		return w.say("HTTP/1.1 204 No Content\r\n", length(b), "\r\n", b)
	})
	kinds["odd-type"] = kind{json: whole, sse: protocol, do: func(w *wire) bool {
		b := w.answer()
		if w.stream {
			b = w.events(-1) + done
		}
		return w.say("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n", length(b), "\r\n", b)
	}}
}

func jsonKinds() {
	cutJSON("json-fin", cut, func(w *wire, b string) bool {
		w.say(jsonHead, length(b), "\r\n", b[:len(b)*(w.o.draw()%100)/100])
		return false
	})
	cutJSON("json-reset", cut, func(w *wire, b string) bool {
		w.say(jsonHead, length(b), "\r\n", b[:len(b)*(w.o.draw()%100)/100])
		return w.reset()
	})
	cutJSON("json-length-long", cut, func(w *wire, b string) bool {
		w.say(jsonHead, length(b+" "), "\r\n", b)
		return false
	})
	cutJSON("json-length-short", protocol, func(w *wire, b string) bool {
		return w.say(jsonHead, length(b[:len(b)-30]), "\r\n", b)
	})
	// The part that is announced begins and ends as JSON does.
	cutJSON("json-length-brace", protocol, func(w *wire, b string) bool {
		return w.say(jsonHead, length(b[:len(b)-1]), "\r\n", b)
	})
	cutJSON("json-closing-brace", protocol, func(w *wire, b string) bool {
		w.say(jsonHead, "\r\n", b[:len(b)-1])
		return false
	})
	cutJSON("json-invalid", protocol, func(w *wire, _ string) bool {
		b := `{"id": nonsense, ` + canaryBytes + `}`
		return w.say(jsonHead, length(b), "\r\n", b)
	})
	cutJSON("json-two", protocol, func(w *wire, b string) bool { return w.say(jsonHead, length(b+b), "\r\n", b, b) })
	cutJSON("json-huge-length", tooLarge, func(w *wire, _ string) bool {
		w.say(jsonHead, "Content-Length: 8589934592\r\n\r\n{")
		return w.gone()
	})
	cutJSON("json-endless", tooLarge, func(w *wire, _ string) bool {
		w.say(jsonHead, "Transfer-Encoding: chunked\r\n\r\n", chunk("["))
		for w.say(chunk(strings.Repeat("1,", 8000))) {
		}
		return false
	})
	cutJSON("json-endless-close", tooLarge, func(w *wire, _ string) bool {
		w.say(jsonHead, "\r\n[")
		for w.say(strings.Repeat("1,", 8000)) {
		}
		return false
	})
	for name, end := range map[string]string{
		"border": "", "size": "5", "size-cr": "5\r", "data": "50\r\nabc", "behind-data": "3\r\nabc", "behind-data-cr": "3\r\nabc\r", "last": "0", "last-line": "0\r\n",
		"last-cr": "0\r\n\r", "trailer": "0\r\nX: y\r\n",
	} {
		cutJSON("json-chunk-fin-"+name, cut, func(w *wire, b string) bool {
			w.say(jsonHead, "Transfer-Encoding: chunked\r\n\r\n", chunk(b), end)
			return false
		})
	}
	for name, end := range map[string]string{
		"word": "zz\r\n", "minus": "-1\r\n", "overflow": strings.Repeat("f", 40) + "\r\n", "blank": " 5\r\n12345\r\n", "long": "3\r\nabcd\r\n", "bare-lf": "3\nabc\n",
		"line": strings.Repeat("0", 9000), "extension": "5;" + strings.Repeat("x", 9000), "trailer": "0\r\n" + strings.Repeat("X: y\r\n", 3000), "no-size": "\r\n",
	} {
		cutJSON("json-chunk-"+name, protocol, func(w *wire, b string) bool {
			w.say(jsonHead, "Transfer-Encoding: chunked\r\n\r\n", chunk(b), end)
			return w.gone()
		})
	}
}

func statusKinds(sinkhole string) {
	text := problem("no", "some_error", "some_code")
	status("429-seconds", "429 some_code", "429 Too Many Requests", "Retry-After: 7\r\n", text)
	status("429-date", "429 some_code", "429 Too Many Requests", "Retry-After: Wed, 21 Oct 2037 07:28:00 GMT\r\n", text)
	status("500", "500 some_code", "500 Internal Server Error", "", text)
	status("503", "503 some_code", "503 Service Unavailable", "Retry-After: 7\r\n", text)
	status("529", "529", "529 Overloaded", "", text)
	status("400-context", "400 context_length_exceeded", "400 Bad Request", "", problem("too long", "invalid_request_error", "context_length_exceeded"))
	status("400-content", "400 content_filter", "400 Bad Request", "", problem("refused", "invalid_request_error", "content_filter"))
	status("401", "401", "401 Unauthorized", "WWW-Authenticate: Bearer realm="+canaryHeader+"\r\n", problem("the key is wrong", "authentication_error", "invalid_api_key"))
	status("404", "404", "404 Not Found", "", text)
	status("quoting", "400", "400 Bad Request", "", problem("the header Bearer "+canaryKey+" with "+canaryHeader+" is wrong", "invalid_request_error", "x"))
	status("quoting-500", "500", "500 Internal Server Error", "", problem("the header Bearer "+canaryKey+" with "+canaryHeader+" is wrong", "server_error", "x"))
	status("500-html", "500 upstream_error", "500 Internal Server Error", "", "<html>"+canaryBytes)
	status("500-empty", "500 upstream_error", "500 Internal Server Error", "", "")
	for _, s := range []string{"301", "302", "303", "307", "308"} {
		status(s, protocol, s+" Elsewhere", "Location: http://"+sinkhole+"/v1/chat/completions\r\n", text)
	}
	status("304", protocol, "304 Not Modified", "", "")
	both("500-once", "500 some_code|whole", func(w *wire) bool {
		if w.nth == 1 {
			return kinds["500"].do(w)
		}
		return w.good()
	})
	both("500-cut", "500|502", func(w *wire) bool {
		w.say("HTTP/1.1 500 No\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n", text)
		return false
	})
	both("error-in-200", "502 some_code|429|503", func(w *wire) bool {
		if w.stream {
			return w.say(sseHead, chunk(event(text)+done), lastChunk)
		}
		return w.say(jsonHead, length(text), "\r\n", text)
	})
	k := kinds["401"]
	k.final = false // it is the gateway's key that is wrong
	kinds["401"] = k
}

// streamEnds are the places where a stream may break off.
func streamEnds() {
	ends := map[string]func(w *wire){
		"border":   func(w *wire) { w.say(chunk(w.events(w.some()))) },
		"event":    func(w *wire) { w.say(chunk(w.events(w.some()) + `data: {"id":"half`)) },
		"newline":  func(w *wire) { s := w.events(w.some()); w.say(chunk(s[:len(s)-1])) },
		"size":     func(w *wire) { w.say(chunk(w.events(w.some())), "3") },
		"size-cr":  func(w *wire) { w.say(chunk(w.events(w.some())), "3\r") },
		"data":     func(w *wire) { w.say(chunk(w.events(w.some())), "ff\r\ndata: {") },
		"data-cr":  func(w *wire) { w.say(chunk(w.events(w.some())), "3\r\n: x\r") },
		"last":     func(w *wire) { w.say(chunk(w.events(w.some())), "0") },
		"last-cr":  func(w *wire) { w.say(chunk(w.events(w.some())), "0\r\n\r") },
		"all-open": func(w *wire) { w.say(chunk(w.events(-1))) }, // all but the mark, and no end
	}
	for name, say := range ends {
		broken("stream-fin-"+name, cutStream, func(w *wire) bool { say(w); return false })
		broken("stream-reset-"+name, cutStream, func(w *wire) bool {
			say(w)
			w.rest(5 * time.Millisecond) // so that what was said arrives before the reset
			return w.reset()
		})
	}
	broken("stream-no-done", whole, func(w *wire) bool { return w.say(chunk(w.events(-1)), lastChunk) })
	broken("stream-no-finish", cutStream, func(w *wire) bool { return w.say(chunk(w.events(w.some())), lastChunk) })
	broken("stream-done-fin", whole, func(w *wire) bool { w.say(chunk(w.events(-1) + done)); return false })
	broken("stream-done-twice", whole, func(w *wire) bool { return w.say(chunk(w.events(-1)+done+done+done), lastChunk) })
	broken("stream-done-more", whole, func(w *wire) bool {
		return w.say(chunk(w.events(-1)+done+event(pieces("foreign-"+w.marker, "x")[1])), lastChunk)
	})
	broken("stream-done-more-late", whole, func(w *wire) bool {
		w.say(chunk(w.events(-1) + done))
		w.rest(5 * time.Millisecond)
		return w.say(chunk(event(pieces("foreign-"+w.marker, "x")[1])), lastChunk)
	})
	broken("stream-done-garbage", whole, func(w *wire) bool { w.say(chunk(w.events(-1)+done), "zz\r\n"); return false })
	kinds["stream-closing-cut"] = kind{sse: cutStream, do: func(w *wire) bool {
		w.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", w.events(w.some()))
		return false
	}}
}

func streamKinds() {
	for name, end := range map[string]string{"word": "zz\r\n", "minus": "-1\r\n", "overflow": strings.Repeat("f", 40) + "\r\n", "long": "3\r\n: xyz\r\n"} {
		broken("stream-chunk-"+name, badStream, func(w *wire) bool {
			w.say(chunk(w.events(w.some())), end)
			return w.gone()
		})
	}
	broken("stream-bad-event", badStream, func(w *wire) bool {
		return w.say(chunk(w.events(w.some())+event(`{"id": `+canaryBytes)), chunk(done), lastChunk)
	})
	broken("stream-bad-first", protocol, func(w *wire) bool {
		return w.say(chunk(event(`{"id": `+canaryBytes)), chunk(w.events(-1)+done), lastChunk)
	})
	broken("stream-error", "broken some_code", func(w *wire) bool {
		return w.say(chunk(w.events(w.some())), chunk(event(problem("it broke", "server_error", "some_code"))+done), lastChunk)
	})
	broken("stream-error-quoting", "broken x", func(w *wire) bool {
		return w.say(chunk(w.events(w.some())), chunk(event(problem("Bearer "+canaryKey+" "+canaryHeader, "server_error", "x"))), lastChunk)
	})
	broken("stream-error-named", "broken some_code", func(w *wire) bool {
		return w.say(chunk(w.events(w.some())), chunk("event: error\n"+event(problem("it broke", "server_error", "some_code"))), lastChunk)
	})
	broken("stream-error-first", "503 some_code", func(w *wire) bool {
		return w.say(chunk(event(problem("busy", "overloaded_error", "some_code"))), lastChunk)
	})
	broken("stream-comments", "502 upstream_error", func(w *wire) bool { return w.say(chunk(": one\n\n: two\n\n"), lastChunk) })
	broken("stream-only-done", "502 upstream_error", func(w *wire) bool { return w.say(chunk(done), lastChunk) })
	broken("stream-large-event", "broken upstream_too_large", func(w *wire) bool {
		return w.say(chunk(w.events(3)), chunk("data: \""+strings.Repeat("x", 2*limitEvent)+"\"\n\n"), lastChunk)
	})
	broken("stream-endless-event", "broken upstream_too_large", func(w *wire) bool {
		w.say(chunk(w.events(3)), chunk("data: \""))
		for w.say(chunk(strings.Repeat("x", 10000))) {
		}
		return false
	})
	broken("stream-endless-comment", "502 upstream_too_large", func(w *wire) bool {
		w.say(chunk(": "))
		for w.say(chunk(strings.Repeat("x", 10000))) {
		}
		return false
	})
	broken("stream-crlf", whole, func(w *wire) bool {
		return w.say(chunk(strings.ReplaceAll(w.events(-1)+done, "\n", "\r\n")), lastChunk)
	})
	broken("stream-keepalive", whole, func(w *wire) bool {
		return w.say(chunk(": hello\n\n"+strings.ReplaceAll(w.events(-1), "\n\n", "\n\n: still here\n\n")+done), lastChunk)
	})
	broken("stream-tight", whole, func(w *wire) bool { // no blank behind the colon, and a name
		return w.say(chunk(strings.ReplaceAll(w.events(-1)+done, "data: ", "event: chunk\nid: 7\ndata:")), lastChunk)
	})
}

func slowKinds() {
	slow := func(name string) {
		k := kinds[name]
		k.slow = true
		kinds[name] = k
	}
	both("silence", late, (*wire).gone)
	both("dribbled-head", late, func(w *wire) bool {
		for _, c := range jsonHead + length("{}") + "\r\n{}" {
			if !w.say(string(c)) {
				break
			}
			w.rest(50 * time.Millisecond)
		}
		return w.gone()
	})
	both("slow-first", whole, func(w *wire) bool {
		w.rest(limitFirst / 4)
		return w.good()
	})
	kinds["slow-all"] = kind{json: whole, sse: whole, do: func(w *wire) bool { // healthy, and longer than the wait for the first byte
		body, head := w.answer(), jsonHead+"Transfer-Encoding: chunked\r\n\r\n"
		if w.stream {
			body, head = w.events(-1)+done, sseHead
		}
		w.say(head)
		for n := len(body)/12 + 1; body != ""; body = body[min(n, len(body)):] {
			w.say(chunk(body[:min(n, len(body))]))
			w.rest(limitFirst / 8)
		}
		return w.say(lastChunk)
	}}
	cutJSON("json-stall", late, func(w *wire, b string) bool {
		w.say(jsonHead, length(b), "\r\n", b[:len(b)/2])
		return w.gone()
	})
	broken("stream-stall", lateStream, func(w *wire) bool {
		w.say(chunk(w.events(w.some())))
		return w.gone()
	})
	broken("stream-stall-end", whole, func(w *wire) bool { // complete; the end of the body never comes
		w.say(chunk(w.events(-1) + done))
		return w.gone()
	})
	broken("stream-stall-first", late, func(w *wire) bool { return w.gone() })
	broken("stream-endless", lateStream, func(w *wire) bool {
		all := pieces(w.marker, w.o.name)
		w.say(chunk(w.events(3)))
		for i := 3; i < tokens && w.say(chunk(event(all[i]))); i++ {
		}
		for w.say(chunk(": " + strconv.Itoa(w.nth) + "\n\n")) {
			w.rest(time.Millisecond)
		}
		return false
	})
	for _, name := range []string{"silence", "dribbled-head", "json-stall", "stream-stall", "stream-stall-first", "stream-endless", "slow-all"} {
		slow(name)
	}
}

// otherKinds are not part of the matrix: what they do concerns other requests.
func otherKinds() {
	kinds["close-after"] = kind{do: func(w *wire) bool { w.good(); return false }}
	kinds["unasked"] = kind{do: func(w *wire) bool {
		w.good()
		w.rest(5 * time.Millisecond)
		b := wholeAnswer("foreign-"+w.marker, w.o.name)
		return w.say(jsonHead, length(b), "\r\n", b)
	}}
	kinds["flood"] = kind{do: func(w *wire) bool {
		w.say(sseHead)
		for p := pieces(w.marker, w.o.name)[1]; w.say(chunk(strings.Repeat(event(p), 50))); {
		}
		w.o.left.Store(w.marker, time.Now())
		return false
	}}
}
