import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// A guest that sleeps although it was shown something: it is woken again, and that is counted. One
/// that is awake, or has taken everything, is left alone.
@Suite struct LateSignalTests {
    private static let both: [UInt64] = [0, FrontEnd.eventIndex]

    /// A guest that sleeps on its receive queue, and a connection to it.
    private func sleepingGuest(_ features: UInt64) throws -> (rig: Rig, client: Client) {
        let rig = try Rig(features: features)
        let (client, _) = try rig.open()
        let front = rig.frontEnd
        while front.nextPacket() != nil {}
        front.rings[FrontEnd.receive].wantInterrupt(features != 0)
        rig.world.advance(seconds: 60)
        _ = front.takeInterrupts(FrontEnd.receive)
        return (rig, client)
    }

    /// The interrupt goes astray between the device and the guest.
    @Test(arguments: both) func aSwallowedInterruptIsRepeated(_ features: UInt64) throws {
        let (rig, client) = try sleepingGuest(features)
        let front = rig.frontEnd
        client.send([7])
        front.settle()
        #expect(front.takeInterrupts(FrontEnd.receive) == 1, "the one that the guest misses")
        rig.world.advance(milliseconds: 40)
        #expect(front.takeInterrupts(FrontEnd.receive) == 0)
        rig.world.advance(milliseconds: 20)
        #expect(front.takeInterrupts(FrontEnd.receive) == 1)
        #expect(front.nextPacket()?.payload == [7])
        rig.world.advance(seconds: 10)
        #expect(front.guest.lateSignals == 1)
    }

    /// The guest's wish reaches the device's eyes only after it has looked: the guest had looked at
    /// the ring before, and sleeps.
    @Test(arguments: both) func aWishThatCameLateIsFulfilled(_ features: UInt64) throws {
        let (rig, client) = try sleepingGuest(features)
        let front = rig.frontEnd
        let ring = front.rings[FrontEnd.receive]
        ring.wantNoInterrupt(features != 0)
        client.send([7])
        front.settle()
        #expect(front.takeInterrupts(FrontEnd.receive) == 0)
        ring.wantInterrupt(features != 0)
        rig.world.advance(milliseconds: 60)
        #expect(front.takeInterrupts(FrontEnd.receive) == 1)
        #expect(front.nextPacket()?.payload == [7])
        rig.world.advance(seconds: 10)
        #expect(front.guest.lateSignals == 1)
    }

    /// A guest that does not stir is not woken for ever, and counts for nothing.
    @Test func aGuestThatHangsIsLeftAlone() throws {
        let (rig, client) = try sleepingGuest(FrontEnd.eventIndex)
        let front = rig.frontEnd
        client.send([7])
        rig.world.advance(seconds: 20)
        #expect((2...10).contains(front.takeInterrupts(FrontEnd.receive)))
        let alarms = rig.frontEnd.loop.alarmsRung
        rig.world.advance(seconds: 60)
        #expect(front.takeInterrupts(FrontEnd.receive) == 0)
        #expect(rig.frontEnd.loop.alarmsRung == alarms)
        #expect(front.guest.lateSignals == 0)
    }

    /// A guest that takes everything, from time to time by itself, and sleeps in between.
    @Test func aGuestThatNoticesIsNotDisturbed() throws {
        let (rig, client) = try sleepingGuest(FrontEnd.eventIndex)
        let front = rig.frontEnd
        let ring = front.rings[FrontEnd.receive]
        for round in 0..<50 {
            client.send([UInt8(round)])
            front.settle()
            #expect(front.takeInterrupts(FrontEnd.receive) == 1)
            ring.wantNoInterrupt()
            client.send([UInt8(round)])
            rig.world.advance(milliseconds: 7 * round)
            #expect(front.takeInterrupts(FrontEnd.receive) == 0, "the guest is at work")
            while front.nextPacket() != nil {}
            ring.wantInterrupt()
        }
        rig.world.advance(seconds: 1)
        #expect(front.takeInterrupts(FrontEnd.receive) == 0)
        #expect(front.guest.lateSignals == 0)
        let alarms = front.loop.alarmsRung
        rig.world.advance(seconds: 600)
        #expect(front.loop.alarmsRung == alarms, "nothing happens, so nothing is looked at")
    }
}
