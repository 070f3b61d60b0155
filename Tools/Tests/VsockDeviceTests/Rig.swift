import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// A guest that listens on a published port.
struct Rig {
    let frontEnd: FrontEnd
    let port: PublishedPort

    init(
        loop: EventLoop? = nil, cid: UInt64 = 3,
        features: UInt64 = FrontEnd.indirect | FrontEnd.eventIndex
    ) throws {
        frontEnd = try FrontEnd(loop: loop, cid: cid)
        port = try PublishedPort(frontEnd.guest)
        frontEnd.start(features)
        try listen()
    }

    /// Answers the device's question whether anybody listens.
    func listen() throws {
        frontEnd.postReceiveBuffers()
        let probe = try #require(frontEnd.nextPacket())
        #expect(probe.operation == 1)
        #expect(probe.destinationPort == PublishedPort.guestPort)
        frontEnd.transmit(frontEnd.answer(probe, 2))
        #expect(frontEnd.nextPacket()?.operation == 3)
        #expect(frontEnd.readyPorts == [PublishedPort.guestPort])
    }

    /// A client that has connected and that the guest has accepted, with the device's request.
    func open(credit: UInt32 = 65_536) throws -> (client: Client, request: VsockPacket) {
        let client = try Client(port.path)
        let request = try #require(frontEnd.nextPacket())
        #expect(request.operation == 1)
        #expect(request.sourceCID == 2 && request.destinationCID == frontEnd.guest.cid)
        var response = frontEnd.answer(request, 2)
        response.bufferAllocation = credit
        #expect(frontEnd.transmit(response))
        return (client, request)
    }

    /// Whether bytes still pass both ways on a connection of its own.
    func serves() throws -> Bool {
        let (client, request) = try open()
        client.send([1, 2, 3])
        guard let packet = frontEnd.nextPacket(), packet.operation == 5,
            packet.payload == [1, 2, 3]
        else { return false }
        frontEnd.transmit(frontEnd.answer(request, 5, [4, 5, 6]))
        guard client.receive() == .bytes([4, 5, 6]) else { return false }
        frontEnd.transmit(frontEnd.answer(request, 3))
        return client.isAtEnd()
    }
}
