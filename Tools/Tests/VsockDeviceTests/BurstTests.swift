import Glibc
import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// A guest that always has something to send: it gets its share of the loop, with few kicks.
@Suite struct BurstTests {
    /// Packets taken in one go.
    private static let burst = 256

    /// Fills the transmit ring with packets that need no answer.
    private func fill(_ front: FrontEnd) {
        var packet = VsockPacket(3)
        packet.sourceCID = front.guest.cid
        packet.destinationCID = 2
        let ring = front.rings[FrontEnd.transmit]
        front.ram.write(packet.bytes, at: 0x4_0000)
        for index in 0..<ring.size {
            ring.describe(index, 0x4_0000, 44, 0, 0)
            ring.offer(head: index)
        }
    }

    /// The driver puts in more and kicks whenever the device looks away, as on a second core.
    @Test func kicksBuyNoMoreThanABurstATurn() throws {
        let front = try FrontEnd(queueSize: 1024)
        front.start()
        let ring = front.rings[FrontEnd.transmit]
        fill(front)
        var before = ring.usedTotal
        for turn in 0..<16 {
            front.kickOnly(FrontEnd.transmit)
            try front.loop.turn(limit: 0)
            let taken = Int(ring.usedTotal &- before)
            before = ring.usedTotal
            // The first kick finds no pump under way, and starts one besides its own.
            #expect(taken >= BurstTests.burst && taken <= (turn == 0 ? 2 : 1) * BurstTests.burst)
            while let used = ring.takeUsed() { ring.offer(head: UInt16(used.head)) }
        }
        #expect(front.guest.violationCount == 0)
    }

    /// Without event indices the ring's flags say whether kicks are wanted (2.7.10).
    @Test func kicksAreSuppressedWhileThereIsWork() throws {
        let front = try FrontEnd(queueSize: 1024)
        front.start(0)
        let ring = front.rings[FrontEnd.transmit]
        #expect(ring.wantsKick)
        fill(front)
        front.kickOnly(FrontEnd.transmit)
        try front.loop.turn(limit: 0)
        #expect(!ring.wantsKick, "the device comes back by itself")
        front.settle()
        #expect(ring.usedTotal == 1024)
        #expect(ring.wantsKick)
    }

    /// A queue that stops while kicks are suppressed, with nothing left in it, asks for them again
    /// when it goes on.
    @Test func aQueueThatGoesOnWantsKicks() throws {
        let front = try FrontEnd(queueSize: 512)
        front.start(0)
        let ring = front.rings[FrontEnd.transmit]
        fill(front)
        front.kickOnly(FrontEnd.transmit)
        try front.loop.turn(limit: 0)
        #expect(!ring.wantsKick)
        let word = FrontEnd.bytes(UInt32(FrontEnd.transmit))
        let answer = try #require(front.ask(.getBase, word + FrontEnd.bytes(UInt32(0))))
        let base = UInt16(answer[4]) | UInt16(answer[5]) << 8
        #expect(base == 512 && ring.usedTotal == 512)
        front.resume(queue: FrontEnd.transmit, at: base)
        #expect(ring.wantsKick)
    }

    /// A driver that kicks only when it is asked to is served all the same.
    @Test(arguments: [0, FrontEnd.indirect]) func noKickIsMissed(_ features: UInt64) throws {
        let front = try FrontEnd()
        front.start(features)
        let ring = front.rings[FrontEnd.transmit]
        fill(front)
        front.kick(FrontEnd.transmit)
        for count in 9..<600 as Range<UInt16> {
            guard let used = ring.takeUsed() else {
                Issue.record("packet \(count) was not taken")
                return
            }
            ring.offer(head: UInt16(used.head))
            if ring.wantsKick { front.kickOnly(FrontEnd.transmit) }
            if count % 3 == 0 { try front.loop.turn(limit: 0) }
        }
        front.settle()
        #expect(ring.usedTotal == 599)
    }
}
