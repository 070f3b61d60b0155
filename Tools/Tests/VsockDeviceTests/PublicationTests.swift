import Glibc
import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// Clients of a published port while its guest does not serve them: before it listens, after it
/// broke its rings, when it leaves, and when the host has no descriptors.
@Suite struct PublicationTests {
    /// A guest that breaks its ring before it has ever listened.
    @Test func clientsInTheBacklogAreTurnedAwayFromABrokenGuest() throws {
        let front = try FrontEnd()
        let port = try PublishedPort(front.guest)
        let clients = try (0..<100).map { _ in try Client(port.address) }
        front.start()
        front.settle()
        #expect(clients.allSatisfy { $0.receive() == .nothing })
        front.rings[FrontEnd.transmit].offer(head: 99)
        front.kick(FrontEnd.transmit)
        #expect(front.broken.count == 1)
        #expect(clients.allSatisfy { $0.isAtEnd() })
        #expect(front.guest.openCount == 0)
    }

    /// A pause forgets the probe that was to come: with the one of the new start there would be two.
    @Test func oneProbeIsOutAtATime() throws {
        let front = try FrontEnd()
        let port = try PublishedPort(front.guest)
        front.start()
        front.postReceiveBuffers()
        // Until the delay between probes is a quarter of a second: longer than a restart takes.
        for _ in 0..<8 {
            var probe: VsockPacket?
            #expect(
                front.settle {
                    probe = front.nextPacket()
                    return probe != nil
                })
            front.transmit(front.answer(try #require(probe), 3))
        }
        front.restart()
        front.postReceiveBuffers()
        let probe = try #require(front.nextPacket())
        for _ in 0..<40 {
            front.world.advance(milliseconds: 10)
            #expect(front.nextPacket() == nil)
        }
        front.transmit(front.answer(probe, 2))
        #expect(front.nextPacket()?.operation == 3)
        let client = try Client(port.address)
        #expect(front.nextPacket()?.operation == 1)
        #expect(client.receive() == .nothing)
    }

    /// What a client has not fetched ends with the front end, and nothing refers to the guest then.
    @Test func drainingConnectionsEndWithTheGuest() throws {
        let world = try World()
        var rig: Rig? = try Rig(world: world, isUnix: true)
        let client = try endWhileDraining(try #require(rig))
        rig = nil
        while case .bytes = client.receive() {}
        world.settle()
        #expect(client.isAtEnd())
    }

    /// A client that has not fetched what it was sent, of a guest that is gone.
    private func endWhileDraining(_ rig: Rig) throws -> Client {
        let front = rig.frontEnd
        let (client, request) = try rig.open()
        // As much as the credit allows: the socket takes the first part, and the device the rest.
        _ = rig.send(until: 1 << 20, request)
        front.transmit(front.answer(request, 4, flags: 3))
        #expect(front.guest.openCount == 1, "the client may still fetch the bytes")
        front.hangUp()
        try #require(rig.isLeft())
        #expect(front.ends == [nil])
        return client
    }

    /// Each client that comes meets the lack of descriptors; one look at a time is planned.
    @Test func aLackOfDescriptorsIsLookedAtOnceATime() async {
        // A limit is the whole process's: this one is of its own.
        await #expect(processExitsWith: .success) {
            let rig = try Rig()
            let clients = (0..<20).map { _ in Client() }
            var limit = rlimit()
            // SAFETY: the structure outlives the calls.
            _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            let usual = limit.rlim_cur
            limit.rlim_cur = 0
            _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            let loop = rig.frontEnd.loop
            for client in clients {
                try client.connect(to: rig.port.address)
                rig.world.advance(milliseconds: 10)
            }
            let before = loop.alarmsRung
            rig.world.advance(milliseconds: 500)
            precondition(loop.alarmsRung - before <= 5, "\(loop.alarmsRung - before) looks")
            limit.rlim_cur = usual
            _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            precondition(rig.frontEnd.settle { rig.frontEnd.guest.openCount == 20 })
        }
    }
}
