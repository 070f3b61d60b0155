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
}
