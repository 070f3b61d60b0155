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
        let clients = try (0..<100).map { _ in try Client(port.path) }
        front.start()
        front.settle()
        #expect(clients.allSatisfy { $0.receive() == .nothing })
        front.rings[FrontEnd.transmit].offer(head: 99)
        front.kick(FrontEnd.transmit)
        #expect(front.broken.count == 1)
        #expect(clients.allSatisfy { $0.isAtEnd() })
        #expect(front.guest.openCount == 0)
    }
}
