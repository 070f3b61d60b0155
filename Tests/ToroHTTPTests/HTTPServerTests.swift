import Testing
import ToroCore
import ToroHTTP
import ToroTesting

@Suite struct HTTPServerTests {
    @Test @Core func servesAFile() async {
        let tree = MemoryTree()
        tree.addFile("/hello.txt", "hello\n")
        let bench = Bench(tree)
        let answer = await bench.answer("GET /hello.txt HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(
            answer == """
                HTTP/1.1 200 OK\r
                Content-Type: text/plain; charset=utf-8\r
                X-Content-Type-Options: nosniff\r
                Accept-Ranges: bytes\r
                ETag: "2-6553F100.0-6"\r
                Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r
                Content-Length: 6\r
                \r
                hello

                """)
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    @Test(arguments: [
        ("/a.html", "text/html; charset=utf-8"),
        ("/A.HtMl", "text/html; charset=utf-8"),
        ("/.htm", "text/html; charset=utf-8"),
        ("/a.min.js", "text/javascript; charset=utf-8"),
        ("/a.woff2", "font/woff2"),
        ("/a.webm", "video/webm"),
        ("/a.htmlx", "application/octet-stream"),
        ("/a.ht", "application/octet-stream"),
        ("/a.html ", "application/octet-stream"),
        ("/a.application", "application/octet-stream"),
        ("/a.", "application/octet-stream"),
        ("/html", "application/octet-stream"),
        ("/b.html/a", "application/octet-stream"),
    ]) @Core func namesTheMediaType(_ example: (path: String, type: String)) async {
        let tree = MemoryTree()
        tree.addFile(Path(example.path), "")
        let bench = Bench(tree)
        let target = example.path.replacing(" ", with: "%20")
        let answer = await bench.answer("HEAD \(target) HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\nContent-Type: \(example.type)\r\n"))
        #expect(await bench.stop() == nil)
    }

    @Test(arguments: [
        (200, "200 OK"), (201, "201 Created"), (206, "206 Partial Content"),
        (431, "431 Request Header Fields Too Large"), (505, "505 HTTP Version Not Supported"),
        // Without a name: the space before it still has to be there (RFC 9112 section 4).
        (299, "299 "), (599, "599 "), (99, "500 Internal Server Error"),
    ]) @Core func namesTheStatus(_ example: (code: UInt16, line: String)) async {
        let bench = Bench { _ in HTTPResponse(HTTPStatus(example.code)) }
        let answer = await bench.answer("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(answer.hasPrefix("HTTP/1.1 \(example.line)\r\n"))
        #expect(await bench.stop() == nil)
    }
}
