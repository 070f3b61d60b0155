import Testing
import ToroTesting

@testable import VsockDevice

/// Who waits for room among a guest's connections.
@Suite struct AdmissionTests {
    /// However many clients wait, their port is looked at once when there is room.
    @Test func aPortWaitsOnceForAllItsClients() throws {
        let rig = try Rig(limits: GuestLimits(connections: 1), isUnix: true)
        let guest = rig.frontEnd.guest
        let (client, request) = try rig.open()
        var late: [Client] = []
        for _ in 0..<5 {
            late.append(try Client(rig.port.address))
            rig.world.settle()
            #expect(guest.held.count == 1)
        }
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        #expect(rig.frontEnd.nextPacket()?.operation == 3)
        #expect(rig.frontEnd.nextPacket()?.operation == 1)
        #expect(guest.held.count == 1)
        withExtendedLifetime((client, late)) {}
    }
}
