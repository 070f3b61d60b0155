import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// How many connections a server serves at a time.
@Suite(.timeLimit(.minutes(5))) struct HTTPConnectionLimitTests {
    private static let request = Array("GET / HTTP/1.1\r\nHost: h\r\n\r\n".utf8)

    /// The exchanges under way, and the most there have been.
    @Core private final class Meter {
        var current = 0
        var peak = 0
        var total = 0
        var gates: [Waiter<Bool>] = []

        func pass() async {
            current += 1
            total += 1
            peak = max(peak, current)
            let gate = Waiter<Bool>()
            gates.append(gate)
            _ = await gate.wait()
            current -= 1
        }
    }

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
            // An answered connection stays, and keeps its place.
            #expect(bench.port.pendingConnections == max(7 - index, 0))
            client.close()
            await bench.settle()
            #expect(bench.port.pendingConnections == max(6 - index, 0))
        }
        #expect(meter.peak == 3 && meter.total == 10)
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    /// Whoever waits in the backlog is served when an idle connection's time is over.
    @Test @Core func idleConnectionsMakeRoom() async {
        var limits = HTTPLimits()
        limits.connections = 2
        limits.idleTime = .seconds(60)
        let bench = Bench(limits: limits) { _ in HTTPResponse("served\n") }
        let idle = [bench.port.connect(), bench.port.connect()]
        let late = bench.port.connect()
        late.inject(Self.request)
        await bench.clock.advance(by: .milliseconds(59_999))
        #expect(await bench.rest(late) == "" && bench.port.pendingConnections == 1)
        await bench.clock.advance(by: .milliseconds(1))
        #expect(await bench.rest(late).hasSuffix("served\n"))
        for client in idle + [late] { client.close() }
        #expect(await bench.stop() == nil)
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
