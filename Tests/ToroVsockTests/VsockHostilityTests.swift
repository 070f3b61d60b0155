import Testing
import ToroCore
import ToroTesting
import ToroVsock

/// Peers and devices that break the rules.
@Suite(.timeLimit(.minutes(2))) struct VsockHostilityTests: VsockSuite {
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

    /// Bytes and packets made up at random beside a connection that must not notice, and on one
    /// whose lengths lie: it delivers what was whole, and nothing else.
    @Test(arguments: FuzzSeeds.all(1...200))
    @Core func survivesNonsense(_ first: UInt64) async throws {
        for seed in FuzzSeeds(from: first) { try await nonsense(seed) }
    }

    @Core private func nonsense(_ seed: UInt64) async throws {
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
            delivered += contents(part)
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
