import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// Clients that take their time to read: slow is not stalled, and what was answered arrives.
@Suite(.timeLimit(.minutes(5))) struct HTTPSlowReaderTests {
    private static let request = Array("GET / HTTP/1.1\r\nHost: h\r\n\r\n".utf8)
    private static let body = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }

    /// A server that answers everything with `body`.
    @Core private func server(_ change: (inout HTTPLimits) -> Void = { _ in }) -> Bench {
        var limits = HTTPLimits()
        change(&limits)
        return Bench(limits: limits) { _ in HTTPResponse(type: "x/y", bytes: Self.body) }
    }

    /// Takes up to `count` bytes of those that have come.
    @Core private func take(_ count: Int, from client: InMemoryStream) async -> [UInt8] {
        guard client.pendingBytes > 0 else { return [] }
        client.bytesPerReceive = count
        guard let buffer = try? await client.receive() else { return [] }
        return buffer.withBytes { span in
            // SAFETY: the bytes are copied within the call.
            unsafe span.withUnsafeBytes { unsafe Array($0) }
        }
    }

    @Core private func end(_ bench: Bench) async {
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    /// 100 bytes every 119 s, with room for as many on the way: three hours and more.
    @Test @Core func whoGoesOnReadingGetsEverything() async {
        let bench = server()
        let client = bench.port.connect()
        client.window = 100
        client.inject(Self.request)
        var bytes: [UInt8] = []
        while !bytes.suffix(100).elementsEqual(Self.body.suffix(100)), !client.isAtEnd {
            await bench.clock.advance(by: .seconds(119))
            bytes += await take(100, from: client)
        }
        #expect(bytes.suffix(Self.body.count) == Self.body[...])
        #expect(bench.clock.now > Instant(nanoseconds: 0) + .seconds(3 * 3_600))
        // The connection goes on, and has not been idle before its answer was taken.
        await bench.clock.advance(by: .seconds(59))
        client.window = 65_536
        #expect(await bench.answer(String(decoding: Self.request, as: UTF8.self), on: client) != "")
        client.close()
        await end(bench)
    }

    /// All of the answer is on its way, and the client reads it 75 s later: longer than a client
    /// may be idle.
    @Test @Core func aClientIsNotIdleBeforeItHasItsAnswer() async {
        let bench = server()
        let client = bench.port.connect()
        client.inject(Self.request)
        await bench.clock.advance(by: .seconds(75))
        #expect(!client.isAtEnd && client.pendingBytes > Self.body.count)
        #expect(client.takeAll().suffix(Self.body.count) == Self.body[...])
        // Then it is, from the next look on.
        await bench.clock.advance(by: .seconds(60))
        #expect(!client.isAtEnd)
        await bench.clock.advance(by: .seconds(30))
        #expect(client.isAtEnd && !client.wasReset)
        client.close()
        await end(bench)
    }

    /// One byte a minute is slow, too, when all of the answer is on its way.
    @Test @Core func aSlowReaderIsNotIdle() async {
        let bench = server()
        let client = bench.port.connect()
        client.inject(Self.request)
        for _ in 0..<100 {
            await bench.clock.advance(by: .seconds(61))
            #expect(await take(1, from: client).count == 1)
        }
        #expect(!client.isAtEnd)
        client.close()
        await end(bench)
    }

    /// Whoever takes nothing is given up, after `sendTime` and the time between two looks at most,
    /// and is told by a reset: what it has is not whole.
    @Test(arguments: [100, 65_536]) @Core func whoTakesNothingIsGivenUp(window: Int) async {
        let bench = server()
        let client = bench.port.connect()
        client.window = window
        client.inject(Self.request)
        await bench.settle()
        #expect(await take(50, from: client).count == 50)
        await bench.clock.advance(by: .milliseconds(119_999))
        #expect(!client.isAtEnd)
        await bench.clock.advance(by: .milliseconds(30_001))
        #expect(client.wasReset)
        await end(bench)
    }

    /// While an answer is sent the request's time does not pass.
    @Test @Core func theTimeForSendingIsNotTheRequests() async {
        var limits = HTTPLimits()
        limits.requestTime = .seconds(60)
        let bench = Bench(limits: limits) { request in
            HTTPResponse(type: "x/y", length: request.announcedLength) {
                (out) async throws(HTTPError) in
                while let part = try await request.nextBytes() { _ = try await out.write(part) }
            }
        }
        let client = bench.port.connect()
        client.inject(Array("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n\r\n".utf8))
        client.inject(Array(Self.body[..<2_000]))
        await bench.settle()
        client.window = 10
        var bytes = client.takeAll()
        client.inject(Array(Self.body[2_000..<3_000]))
        for _ in 0..<100 {
            await bench.clock.advance(by: .seconds(10))
            bytes += client.takeAll()
        }
        client.inject(Array(Self.body[3_000..<4_000]))
        client.window = 65_536
        await bench.settle()
        bytes += client.takeAll()
        #expect(bytes.suffix(4_000) == Self.body[..<4_000])
        #expect(!client.isAtEnd)
        client.close()
        await end(bench)
    }

    // MARK: Refused uploads

    /// The client sends all of its body before it looks at the answer, however long it is.
    @Test(arguments: [4, 8, 12]) @Core func aRefusedUploadHearsWhy(megabytes: Int) async {
        let bench = Bench { _ in HTTPResponse(.methodNotAllowed) }
        for (framing, status) in [
            ("Content-Length: \(megabytes << 20)", 405), ("Content-Length: \(64 << 20)", 413),
            ("Transfer-Encoding: chunked", 405),
        ] {
            let client = bench.port.connect()
            client.inject(Array("POST / HTTP/1.1\r\nHost: h\r\n\(framing)\r\n\r\n".utf8))
            if status == 405, framing.hasPrefix("T") { client.inject(Array("FFFFFFF\r\n".utf8)) }
            let piece = [UInt8](repeating: 0x78, count: 65_536)
            for _ in 0..<megabytes * 16 {
                client.inject(piece)
                await bench.settle()
            }
            #expect(!client.wasReset, "\(framing)")
            #expect(await bench.rest(client).hasPrefix("HTTP/1.1 \(status) "), "\(framing)")
            client.close()
        }
        await end(bench)
    }

    /// As does one whose body came too slowly for a while.
    @Test @Core func aLateUploadHearsWhy() async {
        let bench = Bench { (request) async throws(HTTPError) in
            while try await request.nextBytes() != nil {}
            return HTTPResponse("read\n")
        }
        let client = bench.port.connect()
        client.inject(
            Array("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \(8 << 20)\r\n\r\n".utf8))
        await bench.clock.advance(by: .seconds(30))
        for _ in 0..<64 { client.inject([UInt8](repeating: 0x78, count: 65_536)) }
        #expect(await bench.rest(client).hasPrefix("HTTP/1.1 408 "))
        #expect(client.isAtEnd && !client.wasReset)
        client.close()
        await end(bench)
    }
}
