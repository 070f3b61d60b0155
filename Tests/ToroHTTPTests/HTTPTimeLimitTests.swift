import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// What a client may take its time for, and for how long.
@Suite(.timeLimit(.minutes(5))) struct HTTPTimeLimitTests {
    private static let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

    @Core private func limits(_ change: (inout HTTPLimits) -> Void = { _ in }) -> HTTPLimits {
        var limits = HTTPLimits()
        limits.idleTime = .seconds(60)
        limits.headTime = .seconds(10)
        limits.bodyTime = .seconds(30)
        limits.sendTime = .seconds(20)
        change(&limits)
        return limits
    }

    /// A server that reads each body to its end and then says how long it was.
    @Core private func counter(_ limits: HTTPLimits, _ log: Log = Log()) -> Bench {
        Bench(limits: limits) { (request) async throws(HTTPError) in
            var count = 0
            do throws(HTTPError) {
                while let part = try await request.nextBytes() { count += part.count }
            } catch {
                log.errors.append(error)
                throw error
            }
            return HTTPResponse(type: "text/plain", bytes: Array("\(count) bytes".utf8))
        }
    }

    @Core private final class Log {
        var errors: [HTTPError] = []
    }

    @Core private func end(_ bench: Bench) async {
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    @Test @Core func aConnectionWithoutARequestIsClosed() async {
        let bench = counter(limits())
        let client = bench.port.connect()
        await expectEnd(of: client, after: .seconds(60), bench)
        await end(bench)
    }

    /// The connection stays for `time` and then ends in order.
    @Core private func expectEnd(
        of client: InMemoryStream, after time: TimeSpan, _ bench: Bench
    ) async {
        await bench.clock.advance(by: TimeSpan(nanoseconds: time.nanoseconds - 1_000_000))
        #expect(!client.isAtEnd)
        await bench.clock.advance(by: .milliseconds(1))
        #expect(client.isAtEnd && !client.wasReset && client.takeAll() == [])
        client.close()
    }

    @Test @Core func everyAnswerBeginsTheIdleTimeAnew() async {
        let bench = counter(limits())
        let client = bench.port.connect()
        for _ in 0..<3 {
            await bench.clock.advance(by: .seconds(59))
            #expect(await bench.answer(Self.request, on: client).hasSuffix("0 bytes"))
        }
        // The client had its answer within the second after which that is looked at.
        await expectEnd(of: client, after: .seconds(61), bench)
        await end(bench)
    }

    @Test @Core func aHeadThatDoesNotEndIsAnsweredWith408() async {
        let bench = counter(limits())
        let client = bench.port.connect()
        await bench.clock.advance(by: .seconds(30))
        #expect(await bench.answer("GET / HTTP/1.1\r\nHost", on: client) == "")
        await bench.clock.advance(by: .milliseconds(9_999))
        #expect(await bench.rest(client) == "" && !client.isAtEnd)
        await bench.clock.advance(by: .milliseconds(1))
        let answer = await bench.rest(client)
        #expect(answer.hasPrefix("HTTP/1.1 408 "))
        #expect(answer.contains("\r\nConnection: close\r\n"))
        #expect(client.isAtEnd)
        client.close()
        await end(bench)
    }

    @Test @Core func aBodyThatStallsIsAnsweredWith408() async {
        let log = Log()
        let bench = counter(limits(), log)
        let client = bench.port.connect()
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
        #expect(await bench.answer(head + "abc", on: client) == "")
        await bench.clock.advance(by: .milliseconds(29_999))
        #expect(await bench.answer("d", on: client) == "")
        await bench.clock.advance(by: .milliseconds(29_999))
        #expect(await bench.rest(client) == "" && log.errors == [])
        await bench.clock.advance(by: .milliseconds(1))
        #expect(await bench.rest(client).hasPrefix("HTTP/1.1 408 "))
        #expect(log.errors == [.timedOut] && client.isAtEnd)
        client.close()
        await end(bench)
    }

    /// After the head of the answer has gone out there is no place for another status.
    @Test @Core func aBodyThatStallsUnderAnAnswerEndsTheConnection() async {
        let bench = Bench(limits: limits()) { request in
            HTTPResponse(type: "text/plain") { (out) async throws(HTTPError) in
                while let part = try await request.nextBytes() { _ = try await out.write(part) }
            }
        }
        let client = bench.port.connect()
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
        #expect(await bench.answer(head + "abc", on: client).contains("\r\n\r\n3\r\nabc"))
        await bench.clock.advance(by: .seconds(30))
        #expect(await bench.rest(client) == "" && client.isAtEnd)
        client.close()
        await end(bench)
    }

    @Test @Core func aClientThatTakesNothingIsGivenUp() async {
        let bench = Bench(limits: limits()) { _ in
            HTTPResponse(type: "text/plain", bytes: [UInt8](repeating: 0x78, count: 1_000))
        }
        let client = bench.port.connect()
        client.window = 100
        client.inject(Array(Self.request.utf8))
        await bench.clock.advance(by: .milliseconds(19_999))
        #expect(!client.isAtEnd && client.pendingBytes == 100)
        await bench.clock.advance(by: .milliseconds(1))
        #expect(client.isAtEnd && client.takeAll().count == 100)
        client.close()
        await end(bench)
    }

    /// What a client still sends behind its last answer does not break the connection.
    @Test @Core func aClientThatDoesNotHangUpIsLeft() async {
        let bench = counter(limits())
        let client = bench.port.connect()
        let answer = await bench.answer(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", on: client)
        #expect(answer.hasSuffix("0 bytes") && client.isAtEnd)
        #expect(bench.clock.pendingTimers == 0)
        #expect(await client.send(bytes("x")).error == nil)
        client.close()
        await end(bench)
    }

    /// One byte a second: the time limit is on the whole head, however often a byte comes.
    @Test(arguments: [(27, true), (26, false), (10, false)]) @Core
    func aHeadMayComeByteByByteWithinItsTime(_ given: (seconds: UInt64, served: Bool)) async {
        let bench = counter(limits { $0.headTime = .seconds(given.seconds) })
        let client = bench.port.connect()
        var answers = ""
        var seconds: UInt64 = 0
        // 27 bytes: the last one comes 26 s after the first.
        for byte in Self.request.utf8 where !client.isAtEnd {
            client.inject([byte])
            answers += await bench.rest(client)
            await bench.clock.advance(by: .seconds(1))
            seconds += 1
            answers += await bench.rest(client)
        }
        if given.served {
            #expect(answers.hasPrefix("HTTP/1.1 200 ") && answers.hasSuffix("0 bytes"))
            #expect(!client.isAtEnd)
        } else {
            #expect(answers.hasPrefix("HTTP/1.1 408 "))
            #expect(seconds == given.seconds)
        }
        client.close()
        await end(bench)
    }

    /// A body has a limit on each wait, and one on all of them, which begins anew with the next
    /// request.
    @Test @Core func aBodyMayComeByteByByteWithinTheRequestsTime() async {
        let bench = counter(limits { $0.requestTime = .seconds(300) })
        let client = bench.port.connect()
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n"
        for _ in 0..<2 {
            #expect(await bench.answer(head, on: client) == "")
            for _ in 0..<10 {
                client.inject([0x78])
                await bench.clock.advance(by: .seconds(29))
            }
            #expect(await bench.answer("x", on: client).hasSuffix("11 bytes"))
        }
        #expect(await bench.answer(head, on: client) == "")
        for _ in 0..<10 {
            await bench.clock.advance(by: .seconds(29))
            client.inject([0x78])
        }
        await bench.clock.advance(by: .milliseconds(9_999))
        #expect(await bench.rest(client) == "")
        await bench.clock.advance(by: .milliseconds(1))
        #expect(await bench.rest(client).hasPrefix("HTTP/1.1 408 "))
        client.close()
        await end(bench)
    }

    /// Nor is a connection held by the rest of a body that nobody wants.
    @Test @Core func aBodyThatIsThrownAwayHasTheRequestsTime() async {
        let bench = Bench(limits: limits { $0.requestTime = .seconds(60) }) { _ in
            HTTPResponse("fine\n")
        }
        let client = bench.port.connect()
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"
        #expect(await bench.answer(head, on: client).hasSuffix("fine\n"))
        for _ in 0..<2 {
            client.inject([0x78])
            await bench.clock.advance(by: .seconds(29))
            #expect(!client.isAtEnd)
        }
        await bench.clock.advance(by: .seconds(2))
        #expect(client.isAtEnd)
        client.close()
        await end(bench)
    }

    /// Whoever is slow has its own time; others do not wait for it.
    @Test @Core func aSlowClientDelaysNobody() async {
        let bench = counter(limits())
        let slow = bench.port.connect()
        for byte in Self.request.utf8.prefix(10) {
            slow.inject([byte])
            #expect(await bench.answer(Self.request).hasSuffix("0 bytes"))
            await bench.clock.advance(by: .seconds(1))
        }
        #expect(await bench.rest(slow).hasPrefix("HTTP/1.1 408 "))
        slow.close()
        await end(bench)
    }

    private func bytes(_ text: StaticString) -> IOBuffer {
        guard var buffer = try? IOBuffer(capacity: 64) else { fatalError("no memory") }
        buffer.append(text)
        return buffer
    }
}

extension Completed where Failure == StreamError {
    /// What went wrong, if anything did.
    var error: StreamError? {
        if case .failure(let error) = result { return error }
        return nil
    }
}
