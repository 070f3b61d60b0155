import Testing
import ToroCore
import ToroTesting
import ToroVsock

/// How connections begin, end and are told apart.
@Suite(.timeLimit(.minutes(2))) struct VsockConnectionTests: VsockSuite {
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
}
