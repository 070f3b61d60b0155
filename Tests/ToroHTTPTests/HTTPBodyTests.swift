import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// Bodies of requests: how long they may be, and who asks for them.
@Suite(.timeLimit(.minutes(5))) struct HTTPBodyTests {
    /// What a handler has seen, and what it waits for.
    @Core private final class Scene {
        var calls = 0
        var body: [UInt8] = []
        let gate = Waiter<Bool>()
    }

    /// A server that reads every body into the scene.
    @Core private func reader(_ scene: Scene, bodyBytes: UInt64, waits: Bool = false) -> Bench {
        var limits = HTTPLimits()
        limits.bodyBytes = bodyBytes
        return Bench(limits: limits) { (request) async throws(HTTPError) in
            scene.calls += 1
            if waits, !scene.gate.isDone { _ = await scene.gate.wait() }
            while let part = try await request.nextBytes() {
                part.withBytes { span in
                    // SAFETY: the bytes are copied within the call.
                    unsafe span.withUnsafeBytes { unsafe scene.body.append(contentsOf: $0) }
                }
            }
            return HTTPResponse("read\n")
        }
    }

    private static let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    private static func sized(_ length: Int, _ more: String = "") -> String {
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \(length)\r\n\(more)\r\n"
    }

    @Test @Core func aBodyUpToTheLimitIsRead() async {
        for request in [
            Self.chunked + "4\r\nabcd\r\n6\r\nefghij\r\n0\r\n\r\n",
            Self.sized(10) + "abcdefghij",
        ] {
            let scene = Scene()
            let bench = reader(scene, bodyBytes: 10)
            #expect(await bench.answer(request).hasPrefix("HTTP/1.1 200 "))
            #expect(scene.body == Array("abcdefghij".utf8))
            #expect(await bench.stop() == nil)
        }
    }

    /// The announced length is enough to refuse: no handler is asked, and no byte awaited.
    @Test @Core func aBodyDeclaredTooLongIsRefusedAtOnce() async {
        let scene = Scene()
        let bench = reader(scene, bodyBytes: 10)
        let answer = await bench.answer(Self.sized(11))
        #expect(answer.hasPrefix("HTTP/1.1 413 "))
        #expect(answer.contains("\r\nConnection: close\r\n"))
        #expect(scene.calls == 0)
        #expect(await bench.stop() == nil)
    }

    @Test @Core func aChunkedBodyThatGrowsTooLongIsRefused() async {
        let scene = Scene()
        let bench = reader(scene, bodyBytes: 10)
        let client = bench.port.connect()
        #expect(await bench.answer(Self.chunked + "5\r\nabcde\r\n", on: client) == "")
        #expect(await bench.answer("5\r\nfghij\r\n", on: client) == "")
        #expect(scene.body == Array("abcdefghij".utf8))
        let answer = await bench.answer("1\r\nk\r\n", on: client)
        #expect(answer.hasPrefix("HTTP/1.1 413 "))
        #expect(answer.contains("\r\nConnection: close\r\n"))
        #expect(scene.body.count == 10 && client.isAtEnd)
        // What would be the next request is none: the body's end is unknown.
        #expect(await bench.answer("0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", on: client) == "")
        #expect(scene.calls == 1)
        client.close()
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    private static let expectation = "Expect: 100-continue\r\n"
    private static let goOn = "HTTP/1.1 100 Continue\r\n\r\n"

    @Test @Core func theClientIsToldToGoOnWhenTheBodyIsAskedFor() async {
        let scene = Scene()
        let bench = reader(scene, bodyBytes: 10, waits: true)
        let client = bench.port.connect()
        let head = Self.sized(5, Self.expectation)
        #expect(await bench.answer(head, on: client) == "" && scene.calls == 1)
        scene.gate.resume(true)
        #expect(await bench.rest(client) == Self.goOn)
        #expect(await bench.answer("ab", on: client) == "")
        let answer = await bench.answer("cde", on: client)
        #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.hasSuffix("\r\n\r\nread\n"))
        #expect(scene.body == Array("abcde".utf8))
        // The connection stays, and the next request has an expectation of its own.
        #expect(await bench.answer(Self.sized(1), on: client) == "")
        #expect(await bench.answer("x", on: client).hasPrefix("HTTP/1.1 200 "))
        client.close()
        #expect(await bench.stop() == nil)
    }

    /// The client would not know whether its next bytes are a body: the connection ends.
    @Test @Core func theClientIsNotToldToGoOnForNothing() async {
        let bench = Bench { _ in HTTPResponse("no need\n") }
        let client = bench.port.connect()
        let answer = await bench.answer(Self.sized(5, Self.expectation), on: client)
        #expect(answer.hasPrefix("HTTP/1.1 200 ") && !answer.contains("100 Continue"))
        #expect(answer.contains("\r\nConnection: close\r\n") && client.isAtEnd)
        client.close()
        #expect(await bench.stop() == nil)
    }

    /// RFC 9110 section 10.1.1: from a client of HTTP/1.0 the expectation is ignored.
    @Test @Core func aClientOfOldIsNotToldToGoOn() async {
        let scene = Scene()
        let bench = reader(scene, bodyBytes: 10)
        let head = Self.sized(2, Self.expectation).replacing("HTTP/1.1", with: "HTTP/1.0")
        let answer = await bench.answer(head + "ab")
        #expect(answer.hasPrefix("HTTP/1.1 200 ") && !answer.contains("100 Continue"))
        #expect(scene.body == Array("ab".utf8))
        #expect(await bench.stop() == nil)
    }

    @Test @Core func aLongDeclaredBodyIsRefusedBeforeTheClientGoesOn() async {
        let scene = Scene()
        let bench = reader(scene, bodyBytes: 10)
        let answer = await bench.answer(Self.sized(11, Self.expectation))
        #expect(answer.hasPrefix("HTTP/1.1 413 ") && !answer.contains("100 Continue"))
        #expect(await bench.stop() == nil)
    }
}
