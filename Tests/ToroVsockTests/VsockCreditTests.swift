import Testing
import ToroCore
import ToroTesting
import ToroVsock

/// How much is sent, and whose turn it is (VIRTIO 1.2, 5.10.6.3).
@Suite(.timeLimit(.minutes(2))) struct VsockCreditTests: VsockSuite {
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
}
