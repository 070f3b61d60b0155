import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// Requests that come all at once, with memory for few of them: the others wait for their turn.
@Suite(.timeLimit(.minutes(5))) struct HTTPMemoryTests {
    private static let request = Array("GET / HTTP/1.1\r\nHost: h\r\n\r\n".utf8)

    /// A machine whose memory is used up by what a service asks it for.
    @Core private final class Machine {
        /// The bytes that are free for all that is under way.
        var room = 1 << 20
        let meter = Meter()
    }

    @Core private func bench(_ machine: Machine) -> Bench {
        Bench(hasMemory: { $0 <= machine.room }) { _ in
            await machine.meter.pass()
            return HTTPResponse("served\n")
        }
    }

    @Core private func end(_ bench: Bench) async {
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    /// A hundred clients that have connected while there was memory for them, and ask all at once
    /// when so much of it is left.
    @Core private func rush(
        _ bench: Bench, _ machine: Machine, room: Int
    ) async -> [InMemoryStream] {
        let clients = (0..<100).map { _ in bench.port.connect() }
        await bench.settle()
        machine.room = room
        for client in clients { client.inject(Self.request) }
        await bench.settle()
        return clients
    }

    /// Each is served, and never more at a time than there is memory for.
    @Test @Core func requestsWaitForOneAnothersMemory() async {
        let machine = Machine()
        let bench = bench(machine)
        // For some twenty exchanges of 4 KiB, beside what is left for drivers and blocks.
        let clients = await rush(bench, machine, room: (128 + 80) << 10)
        #expect((8...20).contains(machine.meter.peak), "\(machine.meter.peak)")
        while !machine.meter.gates.isEmpty {
            machine.meter.openGates()
            await bench.settle()
        }
        #expect((8...20).contains(machine.meter.peak), "\(machine.meter.peak)")
        for client in clients {
            #expect(await bench.rest(client).hasSuffix("served\n"))
            client.close()
        }
        await end(bench)
    }

    /// Memory that comes back elsewhere is noticed; until then a few go on in any case.
    @Test @Core func memoryThatComesBackIsNoticed() async {
        let machine = Machine()
        let bench = bench(machine)
        let clients = await rush(bench, machine, room: 1 << 10)
        #expect(machine.meter.peak == 8)
        await bench.clock.advance(by: .seconds(5))
        #expect(machine.meter.peak == 8)
        machine.room = 1 << 20
        await bench.clock.advance(by: .milliseconds(50))
        #expect(machine.meter.peak == 100)
        machine.meter.openGates()
        for client in clients {
            #expect(await bench.rest(client).hasSuffix("served\n"))
            client.close()
        }
        await end(bench)
    }

    /// Who finds no memory in time hears 503 if there is a little for that, and the end in any case.
    @Test(arguments: [true, false]) @Core func whoWaitsTooLongIsRefused(hasRoom: Bool) async {
        let machine = Machine()
        let bench = bench(machine)
        let clients = await rush(bench, machine, room: hasRoom ? 128 << 10 : 1 << 10)
        await bench.clock.advance(by: .milliseconds(9_900))
        #expect(clients.allSatisfy { $0.pendingBytes == 0 && !$0.isAtEnd })
        await bench.clock.advance(by: .milliseconds(200))
        #expect(machine.meter.peak == 8)
        for client in clients[8...] {
            let answer = await bench.rest(client)
            #expect(hasRoom ? answer.hasPrefix("HTTP/1.1 503 ") : answer.isEmpty)
            #expect(client.isAtEnd && !client.wasReset)
        }
        machine.meter.openGates()
        for client in clients[..<8] {
            #expect(await bench.rest(client).hasSuffix("served\n"))
        }
        for client in clients { client.close() }
        await end(bench)
    }

    /// The clients of a bench, which is made after what looks at them.
    @Core private final class Crowd {
        var port: InMemoryListener?
        var clients: [InMemoryStream] = []

        /// Those that have been accepted and have not been let go.
        var live: Int {
            clients.count - (port?.pendingConnections ?? 0) - clients.count { $0.isAtEnd }
        }

        func connect(_ bytes: [UInt8]) {
            guard let client = port?.connect() else { return }
            clients.append(client)
            client.inject(bytes)
        }
    }

    /// Who has rested longest gives way for a block of somebody's file.
    @Test @Core func whoRestsGivesWayForABlock() async throws {
        let tree = MemoryTree()
        tree.addFile("/f", "contents")
        // So little that it is looked whether there is memory for each block.
        let site = HTTPFiles(InMemoryFileSystem(tree), memory: 32 << 10)
        let crowd = Crowd()
        var isShort = false
        let bench = Bench(
            hasMemory: { !isShort || crowd.clients[0].isAtEnd || $0 <= 64 << 10 },
            { request in await site.respond(to: request) })
        crowd.port = bench.port
        for _ in 0..<2 { crowd.connect([]) }
        await bench.clock.advance(by: .seconds(2))
        isShort = true
        let (rests, asks) = (crowd.clients[0], crowd.clients[1])
        asks.inject(Array("GET /f HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
        await bench.clock.advance(by: .seconds(1))
        #expect(await bench.rest(asks).hasSuffix("\r\n\r\ncontents"))
        #expect(rests.isAtEnd && !rests.wasReset && rests.takeAll() == [])
        asks.close()
        await end(bench)
    }

    /// For each answer with a file that is under way 4 KiB stay free, so that it can get its next block:
    /// further ones wait, and are refused in the end.
    @Test @Core func answersUnderWayKeepMemoryForThemselves() async {
        let tree = MemoryTree()
        tree.addFile("/f", String(repeating: "x", count: 200_000) + "end")
        let site = HTTPFiles(InMemoryFileSystem(tree), memory: 32 << 10)
        let machine = Machine()
        let bench = Bench(hasMemory: { $0 <= machine.room }) { request in
            await site.respond(to: request)
        }
        let clients = (0..<6).map { _ in bench.port.connect() }
        await bench.settle()
        // An answer has a claim of 1 KiB left; beside the spare of 96 KiB this is for three of them.
        machine.room = (96 + 3 * 4 + 3) << 10
        for client in clients {
            client.window = 100
            client.inject(Array("GET /f HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
        }
        await bench.clock.advance(by: .seconds(5))
        #expect(clients.map { $0.pendingBytes > 0 } == [true, true, true, false, false, false])
        for client in clients { client.window = 65_536 }
        await bench.clock.advance(by: .seconds(10))
        for client in clients[..<3] {
            let answer = await bench.rest(client)
            #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.hasSuffix("xend"))
        }
        for client in clients { client.close() }
        await end(bench)
    }

    /// Half heads of more clients than there is memory for give way to those who wait, sooner when
    /// there are many: whoever asks behind them is served soon.
    @Test @Core func manyHalfHeadsGiveWaySoon() async throws {
        let crowd = Crowd()
        // For twenty connections, beside what must be left when one is accepted.
        let bench = Bench(hasMemory: { $0 + crowd.live << 14 <= 200 << 10 + 20 << 14 }) { _ in
            HTTPResponse("served\n")
        }
        crowd.port = bench.port
        for _ in 0..<200 { crowd.connect(Array("GET /".utf8)) }
        crowd.connect(Self.request)
        let honest = try #require(crowd.clients.last)
        var seconds = 0
        while honest.pendingBytes == 0, seconds < 20 {
            await bench.clock.advance(by: .seconds(1))
            seconds += 1
        }
        #expect(seconds <= 3, "served after \(seconds) s")
        #expect(await bench.rest(honest).hasSuffix("served\n"))
        for client in crowd.clients.dropLast(21) {
            #expect(await bench.rest(client).hasPrefix("HTTP/1.1 408 "))
        }
        for client in crowd.clients { client.close() }
        await end(bench)
    }

    /// A cancelled server leaves nobody in the queue.
    @Test @Core func whoWaitsIsCancelled() async {
        let machine = Machine()
        let bench = bench(machine)
        let clients = await rush(bench, machine, room: 1 << 10)
        async let error = bench.cancel()
        await bench.settle()
        machine.meter.openGates()
        #expect(await error == .cancelled)
        #expect(bench.clock.pendingTimers == 0)
        for client in clients { client.close() }
    }

    /// A head that is late hears 408 if there is a little memory for that.
    @Test(arguments: [true, false]) @Core func lastWordsTakeMemoryToo(hasRoom: Bool) async {
        let machine = Machine()
        let bench = bench(machine)
        let client = bench.port.connect()
        client.inject(Array("GET /".utf8))
        await bench.settle()
        machine.room = hasRoom ? 64 << 10 : 1 << 10
        await bench.clock.advance(by: .seconds(11))
        let answer = await bench.rest(client)
        #expect(hasRoom ? answer.hasPrefix("HTTP/1.1 408 ") : answer.isEmpty)
        #expect(client.isAtEnd && !client.wasReset)
        client.close()
        await end(bench)
    }
}
