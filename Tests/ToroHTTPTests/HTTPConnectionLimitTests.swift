import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// How many connections a server serves at a time.
@Suite(.timeLimit(.minutes(5))) struct HTTPConnectionLimitTests {
    private static let request = Array("GET / HTTP/1.1\r\nHost: h\r\n\r\n".utf8)

    @Test @Core func noMoreThanTheLimitAreServedAtOnce() async {
        let meter = Meter()
        var limits = HTTPLimits()
        limits.connections = 3
        let bench = Bench(limits: limits) { _ in
            await meter.pass()
            return HTTPResponse("served\n")
        }
        let clients = (0..<10).map { _ in bench.port.connect() }
        for client in clients { client.inject(Self.request) }
        await bench.settle()
        #expect(meter.current == 3 && bench.port.pendingConnections == 7)
        for (index, client) in clients.enumerated() {
            meter.gates.removeFirst().resume(true)
            #expect(await bench.rest(client).hasSuffix("served\n"), "client \(index)")
            // An answered connection rests, and gives way to the next one if there is any.
            #expect(bench.port.pendingConnections == max(6 - index, 0))
            #expect(client.isAtEnd == (index < 7) && !client.wasReset)
            client.close()
        }
        #expect(meter.peak == 3 && meter.total == 10)
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    @Core private func server(_ connections: Int) -> Bench {
        var limits = HTTPLimits()
        limits.connections = connections
        return Bench(limits: limits) { request in
            HTTPResponse(request.path == "/long" ? "much\n" : "served\n")
        }
    }

    @Core private func end(_ bench: Bench) async {
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    /// Whether the connection has ended in order, without a word.
    @Core private func wasClosed(_ client: InMemoryStream) -> Bool {
        client.isAtEnd && !client.wasReset && client.takeAll() == []
    }

    /// The connection that has rested longest makes room for a new one, at once.
    @Test @Core func whoHasRestedLongestGivesWay() async {
        let bench = server(3)
        let clients = (0..<3).map { _ in bench.port.connect() }
        await bench.settle()
        for client in [clients[0], clients[2]] {
            await bench.clock.advance(by: .seconds(1))
            #expect(await bench.answer(Self.text, on: client).hasSuffix("served\n"))
        }
        // Now the second has rested longest, then the first.
        for (count, victim) in [1, 0].enumerated() {
            let late = bench.port.connect()
            #expect(await bench.answer(Self.text, on: late).hasSuffix("served\n"))
            #expect(wasClosed(clients[victim]), "client \(victim)")
            #expect(!clients[2].isAtEnd && bench.port.pendingConnections == 0, "\(count)")
        }
        #expect(await bench.answer(Self.text, on: clients[2]).hasSuffix("served\n"))
        await end(bench)
    }

    private static let text = String(decoding: request, as: UTF8.self)

    /// Whoever has begun a request rests, too, but is told; it gives way later than others do that
    /// have waited as long.
    @Test @Core func halfAHeadIsAnsweredWith408() async {
        let bench = server(2)
        let (half, idle) = (bench.port.connect(), bench.port.connect())
        await bench.settle()
        half.inject(Array("HEAD / HT".utf8))
        await bench.settle()
        #expect(await bench.answer(Self.text, on: bench.port.connect()).hasSuffix("served\n"))
        #expect(wasClosed(idle) && !half.isAtEnd)
        #expect(await bench.answer(Self.text, on: bench.port.connect()).hasSuffix("served\n"))
        let answer = await bench.rest(half)
        #expect(answer.hasPrefix("HTTP/1.1 408 ") && answer.hasSuffix("\r\n\r\n"))
        #expect(half.isAtEnd && !half.wasReset)
        await end(bench)
    }

    /// What is left of an answer still arrives at whoever gives way.
    @Test @Core func whoGivesWayGetsItsAnswer() async {
        let bench = server(1)
        let slow = bench.port.connect()
        slow.inject(Array("GET /long HTTP/1.1\r\nHost: h\r\n\r\nGET /".utf8))
        await bench.settle()
        #expect(await bench.answer(Self.text, on: bench.port.connect()).hasSuffix("served\n"))
        let answer = await bench.rest(slow)
        #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.hasSuffix("much\n"))
        #expect(slow.isAtEnd && !slow.wasReset)
        await end(bench)
    }

    /// The rest of a body that nobody wants is no reason to keep others out.
    @Test @Core func whoSendsForNobodyGivesWay() async {
        let bench = server(1)
        let first = bench.port.connect()
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"
        #expect(await bench.answer(head, on: first).hasSuffix("served\n"))
        #expect(await bench.answer(Self.text, on: bench.port.connect()).hasSuffix("served\n"))
        #expect(wasClosed(first))
        await end(bench)
    }

    /// 2,500 clients that say nothing: nobody is reset, and an honest one is served at once.
    @Test @Core func clientsThatSayNothingShutNobodyOut() async {
        let bench = server(HTTPLimits().connections)
        let silent = (0..<2_500).map { _ in bench.port.connect() }
        let honest = bench.port.connect()
        #expect(await bench.answer(Self.text, on: honest).hasSuffix("served\n"))
        #expect(bench.clock.now == Instant(nanoseconds: 0))
        let ended = silent.prefix { $0.isAtEnd }.count
        #expect(ended == 2_501 - HTTPLimits().connections)
        #expect(silent.dropFirst(ended).allSatisfy { !$0.isAtEnd })
        #expect(silent.allSatisfy { !$0.wasReset })
        await end(bench)
    }

    /// A place that is given back while all were busy goes to whoever waits.
    @Test @Core func theFirstWhoRestsMakesRoom() async {
        let meter = Meter()
        var limits = HTTPLimits()
        limits.connections = 2
        let bench = Bench(limits: limits) { _ in
            await meter.pass()
            return HTTPResponse("served\n")
        }
        let clients = (0..<3).map { _ in bench.port.connect() }
        for client in clients { client.inject(Self.request) }
        await bench.clock.advance(by: .seconds(100))
        #expect(meter.current == 2 && bench.port.pendingConnections == 1)
        meter.gates[1].resume(true)
        #expect(await bench.rest(clients[1]).hasSuffix("served\n"))
        #expect(clients[1].isAtEnd && meter.current == 2 && meter.gates.count == 3)
        for gate in meter.gates { gate.resume(true) }
        #expect(await bench.rest(clients[0]).hasSuffix("served\n"))
        #expect(await bench.rest(clients[2]).hasSuffix("served\n"))
        await end(bench)
    }

    /// A server whose task is cancelled ends whoever is there, also one that is about to be served.
    @Test @Core func cancellingEndsAll() async {
        let meter = Meter()
        var limits = HTTPLimits()
        limits.connections = 1
        let bench = Bench(limits: limits) { _ in
            await meter.pass()
            return HTTPResponse("served\n")
        }
        let clients = [bench.port.connect(), bench.port.connect()]
        await bench.settle()
        #expect(clients[0].isAtEnd && !clients[1].isAtEnd)
        #expect(await bench.cancel() == .cancelled)
        #expect(wasClosed(clients[1]))
        #expect(bench.clock.pendingTimers == 0)
    }

    /// The request that came while a connection waited is not lost when the port closes: it was
    /// never accepted, and the client sees a reset.
    @Test @Core func whatWaitsWhenThePortClosesIsReset() async {
        let meter = Meter()
        var limits = HTTPLimits()
        limits.connections = 1
        let bench = Bench(limits: limits) { _ in
            await meter.pass()
            return HTTPResponse("served\n")
        }
        let (first, second) = (bench.port.connect(), bench.port.connect())
        for client in [first, second] { client.inject(Self.request) }
        await bench.settle()
        bench.port.close()
        await bench.settle()
        #expect(second.isAtEnd && second.takeAll() == [])
        meter.gates.removeFirst().resume(true)
        #expect(await bench.rest(first).hasSuffix("served\n") && meter.total == 1)
        first.close()
        #expect(await bench.stop() == nil)
    }
}
