import Testing
import ToroTesting
import VsockDevice

/// A guest whose rings are right and whose packets are not (VIRTIO 1.2, 5.10.6).
@Suite struct HostilePacketTests {
    /// A packet that breaks the protocol, made of a right one.
    struct Lie: CustomTestStringConvertible, Sendable {
        let testDescription: String
        /// Whether the device must have reset the connection, or else ignored the packet.
        let resets: Bool
        let change: @Sendable (inout VsockPacket) -> Void

        init(
            _ name: String, resets: Bool = false,
            _ change: @escaping @Sendable (inout VsockPacket) -> Void
        ) {
            testDescription = name
            self.resets = resets
            self.change = change
        }
    }

    static let lies: [Lie] = [
        Lie("another guest's address as the sender's") { $0.sourceCID = 9 },
        Lie("no address as the sender's") { $0.sourceCID = .max },
        Lie("another guest as the receiver") { $0.destinationCID = 4 },
        Lie("a length beyond the bytes") { $0.length = 100 },
        Lie("the longest length") { $0.length = .max },
        Lie("a connection that there is not", resets: true) { $0.destinationPort += 1 },
        Lie("another port of the guest's", resets: true) { $0.sourcePort += 1 },
        Lie("another type", resets: true) { $0.type = 2 },
        Lie("an operation that there is not", resets: true) { $0.operation = 99 },
        Lie("no operation", resets: true) { $0.operation = 0 },
        Lie("a request of the guest", resets: true) { $0.operation = 1 },
        Lie("a second response", resets: true) { $0.operation = 2 },
    ]

    @Test(arguments: lies) func thePacketDoesNotPass(_ lie: Lie) throws {
        let rig = try Rig()
        let (client, request) = try rig.open()
        var packet = rig.frontEnd.answer(request, 5, [1, 2, 3])
        lie.change(&packet)
        #expect(rig.frontEnd.transmit(packet), "the buffer comes back in any case")
        let answer = rig.frontEnd.nextPacket()
        #expect(answer?.operation == (lie.resets ? 3 : nil))
        if lie.resets {
            #expect(answer?.destinationPort == packet.sourcePort)
            #expect(answer?.sourcePort == packet.destinationPort)
            #expect(answer?.type == packet.type)
        } else {
            #expect(rig.frontEnd.guest.violationCount == 1)
        }
        if case .bytes = client.receive() { Issue.record("the client got the bytes") }
        #expect(rig.frontEnd.ends.isEmpty)
        #expect(try rig.serves())
    }

    @Test func aHeaderCutShortIsIgnored() throws {
        let rig = try Rig()
        let ring = rig.frontEnd.rings[FrontEnd.transmit]
        for length in [0, 1, 43] as [UInt32] {
            ring.offer([DriverRing.Part(address: 0x4_0000, length: length)])
            rig.frontEnd.kick(FrontEnd.transmit)
            #expect(ring.takeUsed() != nil)
        }
        #expect(rig.frontEnd.guest.violationCount == 3)
        #expect(rig.frontEnd.nextPacket() == nil)
        #expect(try rig.serves())
    }

    /// Bytes before the connection is one, and after its sender said that there are no more.
    @Test(arguments: [false, true]) func bytesAtTheWrongTime(_ late: Bool) throws {
        let rig = try Rig()
        let front = rig.frontEnd
        let client = try Client(rig.port.address)
        let request = try #require(front.nextPacket())
        if late {
            front.transmit(front.answer(request, 2))
            front.transmit(front.answer(request, 4, flags: 2))
        }
        front.transmit(front.answer(request, 5, [1]))
        #expect(front.nextPacket()?.operation == 3)
        #expect(front.guest.violationCount == 1)
        #expect(client.isAtEnd())
    }

    /// Packets that ask for answers, while the guest takes none.
    @Test func answersDoNotPileUp() throws {
        let rig = try Rig()
        let front = rig.frontEnd
        var taken = 0
        for _ in 0..<5000 {
            var packet = VsockPacket(5)
            packet.sourceCID = 3
            packet.destinationCID = 2
            if front.transmit(packet) { taken += 1 }
            if front.rings[FrontEnd.transmit].isFull { break }
        }
        // The ring's own room: eight answers in the buffers, 1,024 that wait, and no more.
        #expect(taken == 8 + 1024)
        while front.nextPacket() != nil {}
        #expect(try rig.serves())
    }
}
