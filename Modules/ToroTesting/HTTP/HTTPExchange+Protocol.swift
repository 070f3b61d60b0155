extension HTTPExchange {
    /// Methods, versions, persistence, pipelining.
    static var connections: [HTTPExchange] {
        let alpha = Expected.content("alpha")
        func one(_ name: String, _ text: String, _ expected: Expected, closes: Bool = false)
            -> HTTPExchange
        { HTTPExchange(name, Array(text.utf8), [expected], closes: closes) }
        let pipeline =
            "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\nGET /nothing HTTP/1.1\r\nHost: h\r\n\r\n"
            + "HEAD /a.txt HTTP/1.1\r\nHost: h\r\n\r\nGET /data.json HTTP/1.1\r\nHost: h\r\n\r\n"
        return [
            one(
                "HEAD", "HEAD /a.txt HTTP/1.1\r\nHost: h\r\n\r\n",
                .status(200).with("content-length", "5").toHead),
            one("HEAD of nothing", "HEAD /no HTTP/1.1\r\nHost: h\r\n\r\n", .status(404).toHead),
            one(
                "POST", "POST /a.txt HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
                .status(405).with("allow", "GET, HEAD")),
            one(
                "DELETE", "DELETE /a.txt HTTP/1.1\r\nHost: h\r\n\r\n",
                .status(405).with("allow", "GET, HEAD")),
            one(
                "OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
                .status(405).with("allow", "GET, HEAD")),
            one("unknown method", "BREW /a.txt HTTP/1.1\r\nHost: h\r\n\r\n", .status(501)),
            one("lower-case method", "get /a.txt HTTP/1.1\r\nHost: h\r\n\r\n", .status(501)),
            one(
                "close", "GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                alpha.with("connection", "close"), closes: true),
            one(
                "close in a list",
                "GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: x, CLOSE ,y\r\n\r\n",
                alpha.with("connection", "close"), closes: true),
            one(
                "nothing after close",
                "GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                    + "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n", alpha, closes: true),
            one(
                "HTTP/1.0", "GET /a.txt HTTP/1.0\r\n\r\n", alpha.with("connection", "close"),
                closes: true),
            one(
                "HTTP/1.0 kept", "GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                alpha.with("connection", "keep-alive")),
            one("empty line before", "\r\nGET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n", alpha),
            one(
                "names in any case",
                "GET /a.txt HTTP/1.1\r\nhOsT:h\r\nrange:\t bytes=0-0 \t\r\n\r\n",
                .content("a", status: 206)),
            one("obs-text", "GET /a.txt HTTP/1.1\r\nHost: h\r\nX: \u{E4}\r\n\r\n", alpha),
            // What a browser that visits many services of one host brings along.
            one(
                "12,000 bytes of Cookie",
                "GET /a.txt HTTP/1.1\r\nHost: h\r\nCookie: " + String(repeating: "c", count: 12_000)
                    + "\r\n\r\n", alpha),
            one(
                "target of 7,900 bytes",
                "GET /a.txt?" + String(repeating: "q", count: 7_893)
                    + " HTTP/1.1\r\nHost: h\r\n\r\n", alpha),
            one("HTTP/1.2", "GET /a.txt HTTP/1.2\r\nHost: h\r\n\r\n", alpha),
            one("HTTP/1.9", "GET /a.txt HTTP/1.9\r\nHost: h\r\n\r\n", alpha),
            one("empty value", "GET /a.txt HTTP/1.1\r\nHost: h\r\nX:\r\nY: \r\n\r\n", alpha),
            HTTPExchange(
                "pipeline", Array(pipeline.utf8),
                [alpha, .status(404), .status(200).toHead, .content("{}")]),
            HTTPExchange(
                "nothing behind 304",
                Array(
                    ("GET /a.txt HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\n\r\n"
                        + "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n").utf8),
                [.status(304), alpha]),
        ]
    }

    /// Bodies that nobody reads: the next request must be found behind them.
    static var framing: [HTTPExchange] {
        let alpha = Expected.content("alpha")
        func body(_ name: String, _ fields: String, _ body: String) -> HTTPExchange {
            HTTPExchange(
                name,
                Array(("GET /a.txt HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n\r\n" + body).utf8),
                [alpha])
        }
        let chunked = "Transfer-Encoding: chunked"
        func broken(_ name: String, _ chunks: String) -> HTTPExchange {
            HTTPExchange(
                "chunked, " + name,
                Array(
                    ("GET /a.txt HTTP/1.1\r\nHost: h\r\n" + chunked + "\r\n\r\n" + chunks).utf8),
                [alpha], closes: true)
        }
        return [
            body("length", "Content-Length: 5", "GET /"),
            body("length with zeros", "Content-Length: 0005", "GET /"),
            body("length 0", "Content-Length: 0", ""),
            body("chunked", chunked, "3\r\nGET\r\n0\r\n\r\n"),
            body("Chunked", "Transfer-Encoding: \tChunked ", "3\r\nGET\r\n0\r\n\r\n"),
            body("chunk extensions", chunked, "3;a=b\r\nGET\r\n2 ;c=\"d\"\r\n /\r\n0;e\r\n\r\n"),
            body("trailers", chunked, "00A\r\n0123456789\r\n000\r\nX: y\r\nZ:\r\n\r\n"),
            body("no chunk", chunked, "0\r\n\r\n"),
            broken("no size", "\r\n"),
            broken("sign", "+3\r\nabc\r\n0\r\n\r\n"),
            broken("0x", "0x3\r\nabc\r\n0\r\n\r\n"),
            broken("bare LF", "3\nabc\r\n0\r\n\r\n"),
            broken("data too long", "3\r\nabcd\r\n0\r\n\r\n"),
            broken("data too long by what looks like CR", "3\r\nabcd\n0\r\n\r\n"),
            broken("CR without LF", "3\rXabc\r\n0\r\n\r\n"),
            broken("trailer without a name", "0\r\n: x\r\n\r\n"),
            broken(
                "endless extension",
                "3;" + String(repeating: "x", count: 5_000) + "\r\nabc\r\n0\r\n\r\n"),
            broken("huge size", "FFFFFFFFFFFFFFFFF\r\nabc"),
            broken("wrapped size", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
            broken("blank before size", " 3\r\nabc\r\n0\r\n\r\n"),
            broken("NUL in an extension", "3;\0\r\nabc\r\n0\r\n\r\n"),
            HTTPExchange(
                "Expect without body read",
                Array(
                    ("POST /a.txt HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
                        + "Expect: 100-continue\r\n\r\n").utf8),
                [.status(405)], closes: true),
        ]
    }

    /// What is no HTTP/1.1.
    static var refusals: [HTTPExchange] {
        let long = String(repeating: "x", count: 20_000)
        let host = "Host: h\r\n\r\n"
        /// No body, whatever was wrong.
        func head(_ rest: String, _ status: Int) -> HTTPExchange {
            HTTPExchange(
                "HEAD" + rest.prefix(40), Array(("HEAD" + rest).utf8),
                [.status(status).with("connection", "close").toHead], closes: true)
        }
        return [
            head(" /%00 HTTP/1.1\r\n" + host, 400),
            head(" /../x HTTP/1.1\r\n" + host, 400),
            head(" /a.txt HTTP/2.0\r\n" + host, 505),
            head(" /a.txt HTTP/1.1\r\n\r\n", 400),
            head(" /a.txt HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n" + host, 501),
            head(" /a.txt HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n" + host, 413),
            head(" /a.txt HTTP/1.1\r\nX: \0", 400),
            head(" /" + long, 414),
            head(" / HTTP/1.1\r\nX: " + long, 431),
            .refused("no Host", "GET / HTTP/1.1\r\n\r\n", 400),
            .refused("two Hosts", "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400),
            .refused("two Hosts in 1.0", "GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", 400),
            .refused("slash in Host", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", 400),
            .refused("HTTP/2.0", "GET / HTTP/2.0\r\n" + host, 505),
            .refused("HTTP/0.9 with a name", "GET / HTTP/0.9\r\n" + host, 505),
            .refused("HTTP/3.1", "GET / HTTP/3.1\r\n" + host, 505),
            .refused("HTTP/0.9", "GET /\r\n" + host, 400),
            .refused("http/1.1", "GET / http/1.1\r\n" + host, 400),
            .refused("HTTP/11", "GET / HTTP/11\r\n" + host, 400),
            .refused("HTTP/1.10", "GET / HTTP/1.10\r\n" + host, 400),
            .refused("two spaces", "GET  / HTTP/1.1\r\n" + host, 400),
            .refused("space at the end", "GET / HTTP/1.1 \r\n" + host, 400),
            .refused("space first", " GET / HTTP/1.1\r\n" + host, 400),
            .refused("tab", "GET\t/ HTTP/1.1\r\n" + host, 400),
            .refused("method is no token", "G@T / HTTP/1.1\r\n" + host, 400),
            .refused("no slash", "GET a.txt HTTP/1.1\r\n" + host, 400),
            .refused("fragment", "GET /a.txt#x HTTP/1.1\r\n" + host, 400),
            .refused("raw byte", "GET /uml\u{E4}ut HTTP/1.1\r\n" + host, 400),
            .refused("user name", "GET http://u@h/ HTTP/1.1\r\n" + host, 400),
            .refused("no authority", "GET http:///a.txt HTTP/1.1\r\n" + host, 400),
            .refused("other scheme", "GET ftp://h/ HTTP/1.1\r\n" + host, 400),
            .refused("GET *", "GET * HTTP/1.1\r\n" + host, 400),
            .refused("CONNECT", "CONNECT h:80 HTTP/1.1\r\n" + host, 501),
            .refused("bare LF", "GET / HTTP/1.1\nHost: h\n\n", 400),
            .refused("bare LF in a field", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400),
            .refused("bare CR", "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", 400),
            .refused("NUL", "GET / HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n", 400),
            .refused("two empty lines", "\r\n\r\nGET / HTTP/1.1\r\n" + host, 400),
            .refused("obs-fold", "GET / HTTP/1.1\r\nX: a\r\n b\r\n" + host, 400),
            .refused("folded first", "GET / HTTP/1.1\r\n X: a\r\n" + host, 400),
            .refused("space before colon", "GET / HTTP/1.1\r\nX : a\r\n" + host, 400),
            .refused("no colon", "GET / HTTP/1.1\r\nX\r\n" + host, 400),
            .refused("no name", "GET / HTTP/1.1\r\n: x\r\n" + host, 400),
            .refused("name is no token", "GET / HTTP/1.1\r\nX\"y: x\r\n" + host, 400),
            .refused("long target", "GET /" + long + " HTTP/1.1\r\n" + host, 414),
            .refused("long method", long, 414),
            .refused("long field", "GET / HTTP/1.1\r\nX: " + long + "\r\n" + host, 431),
            .refused("other Expect", "GET / HTTP/1.1\r\nExpect: magic\r\n" + host, 417),
            .refused("TLS", "\u{16}\u{3}\u{1}\u{2}", 400),
        ]
    }

    /// Requests that two servers could understand differently.
    static var smuggling: [HTTPExchange] {
        func post(_ name: String, _ fields: String, _ status: Int) -> HTTPExchange {
            .refused(
                name,
                "POST /a.txt HTTP/1.1\r\nHost: h\r\n" + fields
                    + "\r\n\r\n0\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n", status)
        }
        return [
            post("both", "Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
            post("both, the other way", "Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
            post("two lengths", "Content-Length: 5\r\nContent-Length: 6", 400),
            post("the same length twice", "Content-Length: 5\r\nContent-Length: 5", 400),
            post("a list of lengths", "Content-Length: 5, 5", 400),
            post("signed length", "Content-Length: +5", 400),
            post("negative length", "Content-Length: -5", 400),
            post("hexadecimal length", "Content-Length: 0x5", 400),
            post("no length", "Content-Length:", 400),
            post("length with blanks", "Content-Length: 5 5", 400),
            post("2^63", "Content-Length: 9223372036854775808", 400),
            post("2^64 + 5", "Content-Length: 18446744073709551621", 400),
            post("too large", "Content-Length: 9223372036854775807", 413),
            post("space in the name", "Content-Length : 5", 400),
            post("tab in the name", "Transfer-Encoding\t: chunked", 400),
            // What we do not know is 501; what has no end is 400 (RFC 9112 section 6.3).
            post("gzip, chunked", "Transfer-Encoding: gzip, chunked", 501),
            post("gzip and chunked", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 501),
            post("identity", "Transfer-Encoding: identity", 400),
            post("gzip", "Transfer-Encoding: gzip", 400),
            post("no coding", "Transfer-Encoding:", 400),
            post("chunked, identity", "Transfer-Encoding: chunked, identity", 400),
            post("chunked and gzip", "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", 400),
            post("chunked, chunked", "Transfer-Encoding: chunked, chunked", 400),
            post("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
            post("parameter", "Transfer-Encoding: chunked;q=1", 400),
            post("xchunked", "Transfer-Encoding: xchunked", 400),
            post("quoted", "Transfer-Encoding: \"chunked\"", 400),
            post("vertical tab", "Transfer-Encoding: \u{B}chunked", 400),
            .refused(
                "chunked in 1.0",
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ]
    }
}
