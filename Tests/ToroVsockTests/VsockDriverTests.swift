import Testing
import ToroCore
import ToroHTTP
import ToroTesting
import ToroVirtio
import ToroVsock

typealias Driver = VsockDriver

@Suite(.timeLimit(.minutes(2))) struct VsockDriverTests {
    @Core private func driver(
        _ host: MockVsockHost, room: UInt32 = 65_536, clock: VirtualClock = VirtualClock()
    ) throws(WiringError) -> Driver {
        try MockVirtioBus(host.device).vsock(bufferAllocation: room, clock: clock)
    }

    /// A driver that listens on port 5, and a connection to it.
    @Core private func open(_ host: MockVsockHost) async throws -> (
        driver: Driver, port: VsockListener, client: MockVsockStream, stream: VsockStream
    ) {
        let driver = try driver(host)
        let port = try driver.listen(5)
        let client = try #require(await host.connect(to: 5))
        return (driver, port, client, try await port.accept())
    }

    private func bytes(_ text: String) throws(OutOfMemory) -> IOBuffer {
        var buffer = try IOBuffer(capacity: text.utf8.count)
        for byte in text.utf8 { buffer.append(byte) }
        return buffer
    }

    private func text(_ buffer: consuming IOBuffer?) -> String? {
        guard let buffer else { return nil }
        return VsockDriverTests.string(buffer)
    }

    private static func string(_ buffer: borrowing IOBuffer) -> String {
        String(decoding: contents(buffer), as: UTF8.self)
    }

    private static func contents(_ buffer: borrowing IOBuffer) -> [UInt8] {
        var bytes: [UInt8] = []
        let span = buffer.bytes
        for index in span.byteOffsets {
            // SAFETY: the index is one of the span's.
            bytes.append(unsafe span.unsafeLoad(fromByteOffset: index, as: UInt8.self))
        }
        return bytes
    }

    /// The suite of HTTP, through the driver, with much room and with little on either side.
    @Test(arguments: [(65_536, 65_536), (4_096, 4_096), (700, 65_536), (65_536, 512)]) @Core
    func carriesHTTP(_ room: (guest: UInt32, host: UInt32)) async throws {
        let tree = MemoryTree()
        HTTPSite.recipe.build(in: tree)
        let host = MockVsockHost()
        host.bufferAllocation = room.host
        let driver = try driver(host, room: room.guest)
        let port = try driver.listen(80)
        let clock = VirtualClock()
        let server = Task {
            try? await HTTPServer(files: InMemoryFileSystem(tree), clock: clock).serve(port)
        }
        let conformance = HTTPConformance { await host.connect(to: 80) }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 250)
        #expect(host.violations == [])
        port.close()
        await server.value
        #expect(driver.connectionCount == 0)
        #expect(clock.pendingTimers == 0)
    }

    @Test(arguments: [(65_536, 65_536), (4_096, 4_096), (700, 65_536)]) @Core
    func conformsToTheStreamProtocol(_ room: (guest: UInt32, host: UInt32)) async throws {
        let host = MockVsockHost()
        host.bufferAllocation = room.host
        let driver = try driver(host, room: room.guest)
        let port = try driver.listen(5)
        let conformance = ByteStreamConformance { () -> (VsockStream, MockVsockStream)? in
            guard let client = await host.connect(to: 5), let stream = try? await port.accept()
            else { return nil }
            return (stream, client)
        }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 200)
        #expect(host.violations == [])
        await HostRunLoop.shared.settle()
        #expect(driver.connectionCount == 0 && host.connections.isEmpty)
    }

    @Test @Core func whatComesBeforeAcceptIsKept() async throws {
        let host = MockVsockHost()
        let driver = try driver(host)
        let port = try driver.listen(5)
        let client = try #require(await host.connect(to: 5))
        _ = await client.send(try bytes("early "))
        _ = await client.send(try bytes("bird"))
        try await client.finish()
        await HostRunLoop.shared.settle()
        let stream = try await port.accept()
        var all = ""
        while let more = text(try await stream.receive()) { all += more }
        #expect(all == "early bird")
        // The other direction is still open.
        _ = await stream.send(try bytes("late"))
        try await stream.finish()
        #expect(text(try await client.receive()) == "late")
        #expect(text(try await client.receive()) == nil)
        stream.close()
        await HostRunLoop.shared.settle()
        #expect(driver.connectionCount == 0 && host.connections.isEmpty)
        #expect(host.violations == [])
    }

    @Test @Core func aFullBacklogAndAClosedPortRefuse() async throws {
        let host = MockVsockHost()
        let driver = try driver(host)
        let port = try driver.listen(5, backlog: 2)
        #expect(await host.connect(to: 6) == nil)
        #expect(await host.connect(to: 5) != nil)
        #expect(await host.connect(to: 5) != nil)
        #expect(await host.connect(to: 5) == nil)
        _ = try await port.accept()
        #expect(await host.connect(to: 5) != nil)
        port.close()
        #expect(await host.connect(to: 5) == nil)
        #expect(throws: WiringError.self) {
            _ = try driver.listen(7)
            _ = try driver.listen(7)
        }
    }

    @Test @Core func aResetEndsWhoeverWaits() async throws {
        let host = MockVsockHost()
        host.bufferAllocation = 10
        let (driver, _, client, stream) = try await open(host)
        let receiver = Task { () -> StreamError? in
            do throws(StreamError) {
                _ = try await stream.receive()
                return nil
            } catch { return error }
        }
        let sender = Task { () -> StreamError? in
            guard let buffer = try? bytes(String(repeating: "x", count: 100)) else { return nil }
            if case .failure(let error) = await stream.send(buffer).result { return error }
            return nil
        }
        await HostRunLoop.shared.settle()
        client.abort()
        #expect(await receiver.value == .reset)
        #expect(await sender.value == .reset)
        #expect(driver.connectionCount == 0)
    }

    /// Packets that break the rules of an open connection reset that one and no other.
    @Test @Core func violationsEndTheirConnectionOnly() async throws {
        let lies: [(String, (inout VsockPacket) -> Void)] = [
            (
                "more than its credit",
                {
                    $0.operation = 5
                    $0.payload = [UInt8](repeating: 1, count: 1_001)
                }
            ),
            ("a second request", { $0.operation = 1 }), ("a response", { $0.operation = 2 }),
            ("operation 0", { $0.operation = 0 }), ("operation 99", { $0.operation = 99 }),
            ("a reset", { $0.operation = 3 }),
        ]
        for (name, lie) in lies {
            let host = MockVsockHost()
            let driver = try driver(host, room: 1_000)
            let port = try driver.listen(5)
            let victim = try #require(await host.connect(to: 5))
            let bystander = try #require(await host.connect(to: 5))
            let (first, second) = (try await port.accept(), try await port.accept())
            var packet = VsockPacket(0)
            lie(&packet)
            victim.post(packet)
            var failure: StreamError?
            do throws(StreamError) { _ = try await first.receive() } catch { failure = error }
            #expect(failure == .reset, "\(name)")
            _ = await bystander.send(try bytes("fine"))
            #expect(text(try await second.receive()) == "fine", "\(name)")
            #expect(driver.connectionCount == 1)
        }
    }

    /// A closed stream keeps its place until the peer has confirmed that, for 8 s at most.
    @Test @Core func aCloseLingersUntilItIsConfirmed() async throws {
        let host = MockVsockHost()
        host.confirmsClose = false
        let clock = VirtualClock()
        let driver = try driver(host, clock: clock)
        let port = try driver.listen(5)
        let client = try #require(await host.connect(to: 5))
        let stream = try await port.accept()
        _ = await stream.send(try bytes("last words"))
        stream.close()
        stream.close()
        await HostRunLoop.shared.settle()
        #expect(client.peerHasFinished && client.peerIsDeaf && !client.wasReset)
        // What comes meanwhile is dropped and no stranger's.
        var packet = VsockPacket(5)
        packet.payload = [1, 2, 3]
        client.post(packet)
        await clock.advance(by: .milliseconds(7_999))
        #expect(driver.connectionCount == 1 && !client.wasReset)
        #expect(host.strays == [] && host.violations == [])
        await clock.advance(by: .milliseconds(1))
        #expect(driver.connectionCount == 0 && client.wasReset)
        #expect(clock.pendingTimers == 0)
        #expect(text(try await client.receive()) == "last words")
        #expect(text(try await client.receive()) == nil)

        // A confirmation ends it at once, and the timer with it.
        host.confirmsClose = true
        _ = try #require(await host.connect(to: 5))
        let second = try await port.accept()
        second.close()
        #expect(clock.pendingTimers == 1)
        await HostRunLoop.shared.settle()
        #expect(driver.connectionCount == 0 && clock.pendingTimers == 0)
    }

    /// A peer that has ended both directions hears that this is known: at once, or when its bytes
    /// were read (VIRTIO 1.2, 5.10.6.6).
    @Test @Core func aPeersCloseIsConfirmed() async throws {
        let host = MockVsockHost()
        let (driver, port, client, stream) = try await open(host)
        client.close()
        await HostRunLoop.shared.settle()
        #expect(client.wasReset && driver.connectionCount == 0)
        #expect(try await stream.receive() == nil)
        if case .failure(let error) = await stream.send(try bytes("late")).result {
            #expect(error == .reset)
        } else {
            Issue.record("a send to a peer that has closed")
        }
        try await stream.finish()
        stream.close()

        let other = try #require(await host.connect(to: 5))
        let reader = try await port.accept()
        _ = await other.send(try bytes("to be read"))
        other.close()
        await HostRunLoop.shared.settle()
        #expect(!other.wasReset && driver.connectionCount == 1)
        #expect(text(try await reader.receive()) == "to be read")
        await HostRunLoop.shared.settle()
        #expect(other.wasReset && driver.connectionCount == 0)
        #expect(try await reader.receive() == nil)
        // Nothing was said about connections that are over.
        #expect(host.strays == [] && host.violations == [])
    }

    /// Any packet brings credit: a peer that sends needs no update of its own.
    @Test @Core func creditComesWithBytes() async throws {
        let host = MockVsockHost()
        host.bufferAllocation = 10
        let (_, _, client, stream) = try await open(host)
        let sender = Task { await stream.send(try bytes("0123456789abc")).result }
        await HostRunLoop.shared.settle()
        #expect(stream.progress == StreamProgress(accepted: 10, acknowledged: 0))
        host.bufferAllocation = 100
        var packet = VsockPacket(5)
        packet.payload = [1]
        client.post(packet)
        await HostRunLoop.shared.settle()
        #expect(stream.progress == StreamProgress(accepted: 13, acknowledged: 0))
        #expect(try await sender.value.get() == 13)
    }

    /// Other implementations drop packets of more than 64 KiB (the mock host complains).
    @Test @Core func noPacketIsLongerThan64KiB() async throws {
        let host = MockVsockHost()
        host.bufferAllocation = 1 << 20
        let (_, _, client, stream) = try await open(host)
        let done = await stream.send(
            try bytes(String(repeating: "h", count: 100)),
            try bytes(String(repeating: "b", count: 300_000)))
        #expect(try done.result.get() == 300_100)
        #expect(text(try await client.receive())?.utf8.count == 300_100)
        #expect(host.arrivals.count == 5)
        #expect(host.violations == [])
    }

    /// Whoever waits for room in the device's queue gets it in turn, and who gives up leaves.
    @Test @Core func sendersTakeTurns() async throws {
        let host = MockVsockHost()
        let driver = try driver(host)
        let port = try driver.listen(5)
        var clients: [MockVsockStream] = []
        var sends: [Task<Bool, Never>] = []
        for _ in 0..<100 { clients.append(try #require(await host.connect(to: 5))) }
        await HostRunLoop.shared.settle()
        host.isDeaf = true
        for _ in 0..<100 {
            let stream = try await port.accept()
            sends.append(
                Task {
                    guard let buffer = try? bytes("x") else { return false }
                    return (try? await stream.send(buffer).result.get()) == 1
                })
            await HostRunLoop.shared.settle()
        }
        sends[70].cancel()
        #expect(await sends[70].value == false)
        host.isDeaf = false
        await HostRunLoop.shared.settle()
        for (index, send) in sends.enumerated() where index != 70 { #expect(await send.value) }
        let expected = clients.indices.filter { $0 != 70 }.map { clients[$0].localPort }
        #expect(host.arrivals == expected)
        #expect(host.violations == [])
    }

    /// A device that cannot be driven is named as that, not as missing.
    @Test @Core func aDeviceOfAnotherVersionIsNamed() async throws {
        let host = MockVsockHost()
        host.device.defect = .unsupportedVersion(1)
        let bus = MockVirtioBus(host.device)
        #expect {
            _ = try bus.vsock(clock: VirtualClock())
        } throws: {
            ($0 as? WiringError)?.explanation.contains("force-legacy=false") == true
        }
        let good = MockVsockHost()
        _ = try MockVirtioBus(host.device, good.device).vsock(clock: VirtualClock())
    }

    /// A peer that claims to have passed on what was never sent, or takes such a claim back, moves
    /// no count.
    @Test @Core func aFalseForwardCountIsNotBelieved() async throws {
        let host = MockVsockHost()
        let (_, _, client, stream) = try await open(host)
        _ = await stream.send(try bytes("0123456789"))
        for (count, acknowledged) in [(11, 0), (4, 4), (3, 4), (4_000_000_000, 4), (10, 10)] {
            var packet = VsockPacket(6)
            packet.sourcePort = client.localPort
            packet.destinationPort = 5
            packet.forwardCount = UInt32(count)
            host.inject(packet)
            await HostRunLoop.shared.settle()
            #expect(
                stream.progress
                    == StreamProgress(accepted: 10, acknowledged: UInt64(acknowledged)))
        }
    }

    @Test @Core func bytesBehindTheEndAreAViolation() async throws {
        let host = MockVsockHost()
        let (driver, _, client, stream) = try await open(host)
        try await client.finish()
        #expect(try await stream.receive() == nil)
        var packet = VsockPacket(5)
        packet.payload = [1]
        client.post(packet)
        await HostRunLoop.shared.settle()
        #expect(client.isOver)
        #expect(driver.connectionCount == 0)
    }

    /// A host may take room back that it has promised: there is none until it has caught up.
    @Test @Core func creditMayShrinkBelowWhatIsUnread() async throws {
        let host = MockVsockHost()
        let (_, _, client, stream) = try await open(host)
        _ = await stream.send(try bytes(String(repeating: "a", count: 100)))
        host.bufferAllocation = 10
        client.post(VsockPacket(6))
        let sender = Task {
            guard let buffer = try? bytes("more") else { return -1 }
            return (try? await stream.send(buffer).result.get()) ?? -1
        }
        await HostRunLoop.shared.settle()
        #expect(host.violations == [])
        #expect(text(try await client.receive())?.utf8.count == 100)
        #expect(text(try await client.receive()) == "more")
        #expect(await sender.value == 4)
        #expect(host.violations == [])
    }

    /// Packets for another machine are none of this one's; those of another type are reset in kind
    /// (VIRTIO 1.2, 5.10.6.4.1). A connection with the same ports notices neither.
    @Test(arguments: [(4, 1), (3, 2)] as [(UInt64, UInt16)]) @Core
    func packetsOfOthersAreNotTaken(_ other: (cid: UInt64, type: UInt16)) async throws {
        let host = MockVsockHost()
        let (driver, _, client, stream) = try await open(host)
        for operation in 0..<9 as Range<UInt16> {
            var packet = VsockPacket(operation)
            packet.sourcePort = client.localPort + (operation == 1 ? 1 : 0)
            packet.destinationPort = 5
            packet.destinationCID = other.cid
            packet.type = other.type
            packet.flags = 3
            packet.payload = [0x78]
            host.inject(packet)
        }
        await HostRunLoop.shared.settle()
        #expect(driver.connectionCount == 1)
        // Each is reset but the reset itself.
        #expect(host.strays.count == (other.type == 2 ? 8 : 0))
        #expect(host.strays.allSatisfy { $0.operation == 3 && $0.type == 2 })
        _ = await stream.send(try bytes("fine"))
        #expect(text(try await client.receive()) == "fine")
        _ = await client.send(try bytes("here too"))
        #expect(text(try await stream.receive()) == "here too")
    }

    /// Bytes and packets made up at random beside a connection that must not notice, and on one
    /// whose lengths lie: it delivers what was whole, and nothing else.
    @Test(arguments: 1...200) @Core func survivesNonsense(_ seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        let host = MockVsockHost()
        let (_, port, client, stream) = try await open(host)
        let prey = try #require(await host.connect(to: 5))
        let victim = try await port.accept()
        var whole: [UInt8] = []
        for _ in 0..<60 {
            if random.below(3) == 0 {
                var packet = VsockPacket(random.below(4) == 0 ? 7 : 5)
                packet.sourcePort = prey.localPort
                packet.destinationPort = 5
                if packet.operation == 5 {
                    packet.payload = (0..<1 + random.below(50)).map { _ in
                        UInt8(random.below(256))
                    }
                }
                if random.below(3) == 0 {
                    packet.length = UInt32.max >> UInt32(random.below(32))
                }
                let length = Int(packet.length ?? UInt32(packet.payload.count))
                if length <= packet.payload.count { whole += packet.payload.prefix(length) }
                host.inject(packet)
                continue
            }
            if random.below(4) == 0 {
                host.inject(bytes: (0..<random.below(80)).map { _ in UInt8(random.below(256)) })
                continue
            }
            var packet = VsockPacket(UInt16(random.below(9)))
            if random.below(8) == 0 { packet.destinationCID = UInt64(random.below(5)) }
            if random.below(8) == 0 { packet.type = UInt16(random.below(3)) }
            packet.sourcePort = UInt32(random.below(4))
            packet.destinationPort = UInt32(4 + random.below(3))
            packet.flags = UInt32(random.below(5))
            packet.bufferAllocation = UInt32(truncatingIfNeeded: random.next())
            packet.forwardCount = UInt32(truncatingIfNeeded: random.next())
            packet.payload = (0..<random.below(50)).map { UInt8($0) }
            if random.below(4) == 0 { packet.length = UInt32(truncatingIfNeeded: random.next()) }
            host.inject(packet)
        }
        _ = await client.send(try bytes("still here"))
        #expect(text(try await stream.receive()) == "still here")
        _ = await stream.send(try bytes("so am I"))
        #expect(text(try await client.receive()) == "so am I")
        var delivered: [UInt8] = []
        while delivered.count < whole.count, let part = try await victim.receive() {
            delivered += VsockDriverTests.contents(part)
        }
        #expect(delivered == whole)
        // The guest has only said what it may: resets to strangers, answers to the connected.
        #expect(host.violations == [])
    }

    @Test @Core func aHostThatNeverListensCannotFillTheMemory() async throws {
        let host = MockVsockHost()
        let (driver, _, client, stream) = try await open(host)
        host.isDeaf = true
        // Each asks for an answer that is never taken.
        for _ in 0..<20_000 {
            client.post(VsockPacket(7))
            _ = driver.poll()
        }
        var failure: StreamError?
        do throws(StreamError) { _ = try await stream.receive() } catch { failure = error }
        #expect(failure == .deviceFailed)
        #expect(driver.connectionCount == 0)
    }

    @Test @Core func aScribblingDeviceEndsEverything() async throws {
        let host = MockVsockHost()
        let driver = try driver(host)
        let port = try driver.listen(5)
        _ = try #require(await host.connect(to: 5))
        let stream = try await port.accept()
        host.device.queues[0]?.setUsedIndex(5_000)
        #expect(driver.poll())
        var failure: StreamError?
        do throws(StreamError) { _ = try await stream.receive() } catch { failure = error }
        #expect(failure == .deviceFailed)
        var refusal: ListenError?
        do throws(ListenError) { _ = try await port.accept() } catch { refusal = error }
        #expect(refusal != nil)
    }
}
