extension HTTPExchange {
    /// All tries.
    public static var all: [HTTPExchange] {
        files + ranges + connections + framing + refusals + smuggling + traversal
    }

    /// Paths and what they name.
    static var files: [HTTPExchange] {
        [
            .get(
                "/a.txt",
                .content("alpha").with("content-type", "text/plain; charset=utf-8")
                    .with("content-length", "5").with("accept-ranges", "bytes")
                    .with("x-content-type-options", "nosniff").with("transfer-encoding", nil)),
            .get("/", .content("<p>start</p>").with("content-type", "text/html; charset=utf-8")),
            .get("/?q=1", .content("<p>start</p>")),
            .get("/a.txt?x=/../y", .content("alpha")),
            .get(
                "/empty",
                .content("").with("content-length", "0")
                    .with("content-type", "application/octet-stream")),
            .get("/data.json", .content("{}").with("content-type", "application/json")),
            .get("/with%20space%26%3Cb%3e.html", .content("space")),
            .get("/100%2525", .content("percent")),
            .get("/uml%C3%A4ut", .content("umlaut")),
            .get("/...", .content("dots")),
            .get("//a.txt", .content("alpha")),
            .get(
                "/./dir/.//b.css", .content("b{}").with("content-type", "text/css; charset=utf-8")),
            .get("/dir/", .content("<p>dir</p>")),
            .get("/dir", .status(301).with("location", "/dir/")),
            .get("/dir?a=b", .status(301).with("location", "/dir/?a=b")),
            .get("//dir", .status(301).with("location", "/dir/")),
            .get("/plain/", .status(404)),
            .get("/nothing", .status(404)),
            .get("/a.txt/", .status(404)),
            .get("/a.txt/b", .status(404)),
            .get("http://h/a.txt", .content("alpha")),
            .get("HTTP://h:80/a.txt", .content("alpha")),
            .get("http://h", .content("<p>start</p>")),
            .get("http://h?q", .content("<p>start</p>")),
            .get("/%FF%FE", .status(404)),
            .get("/" + String(repeating: "n", count: 256), .status(404)),
        ]
    }

    /// Ranges of a small file.
    static var ranges: [HTTPExchange] {
        func part(_ text: String, _ range: String) -> Expected {
            .content(text, status: 206).with("content-range", "bytes " + range + "/5")
        }
        let whole = Expected.content("alpha").with("content-range", nil)
        let none = Expected.status(416).with("content-range", "bytes */5")
        return [
            .get("/a.txt", "Range: bytes=0-0\r\n", part("a", "0-0")),
            .get("/a.txt", "Range: bytes=1-3\r\n", part("lph", "1-3")),
            .get("/a.txt", "Range: BYTES=1-3\r\n", part("lph", "1-3")),
            .get("/a.txt", "Range: bytes=3-\r\n", part("ha", "3-4")),
            .get("/a.txt", "Range: bytes=3-99\r\n", part("ha", "3-4")),
            .get("/a.txt", "Range: bytes=-2\r\n", part("ha", "3-4")),
            .get("/a.txt", "Range: bytes=-99\r\n", part("alpha", "0-4")),
            .get("/a.txt", "Range: bytes=0-99999999999999999999999\r\n", part("alpha", "0-4")),
            .get("/a.txt", "Range: bytes=5-\r\n", none),
            .get("/a.txt", "Range: bytes=99999999999999999999999-\r\n", none),
            .get("/a.txt", "Range: bytes=-0\r\n", none),
            .get("/empty", "Range: bytes=0-\r\n", .status(416).with("content-range", "bytes */0")),
            .get("/a.txt", "Range: bytes=2-1\r\n", whole),
            .get("/a.txt", "Range: bytes=0-1,3-4\r\n", whole),
            .get("/a.txt", "Range: bytes=a-b\r\n", whole),
            .get("/a.txt", "Range: bytes=\r\n", whole),
            .get("/a.txt", "Range: bytes=-\r\n", whole),
            .get("/a.txt", "Range: bytes=+1-2\r\n", whole),
            .get("/a.txt", "Range: lines=1-2\r\n", whole),
            .get("/a.txt", "Range: bytes=0-1\r\nRange: bytes=2-3\r\n", whole),
            HTTPExchange(
                "HEAD with a range",
                Array(
                    "HEAD /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=0-0\r\n\r\n".utf8),
                [.status(200).with("content-length", "5").toHead]),
        ]
    }

    /// Ways out of the tree; each must be refused, none may be repaired.
    static var traversal: [HTTPExchange] {
        [
            "/..", "/../a.txt", "/dir/../a.txt", "/%2e%2e/a.txt", "/.%2E/a.txt", "/dir/%2e./a.txt",
            "/dir/..", "/a%00.txt", "/dir%2Fb.css", "/%2f", "/%", "/%4", "/%zz", "/a%2",
            "/..%2Fa.txt", "http://h/../a.txt",
        ].map { target in
            .refused("target " + target, "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n", 400)
        }
    }
}
