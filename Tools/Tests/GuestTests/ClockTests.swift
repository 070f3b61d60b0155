import Foundation
import Testing
import ToroCore
import ToroHost
import ToroTesting

/// A booted guest's clock beside the host's.
@Suite struct ClockTests {
    /// A reading of the guest's clock, and the host's time just before and just after, in nanoseconds.
    private typealias Look = (before: UInt64, guest: UInt64, after: UInt64)

    /// A busy machine may rest longer between two looks than a connection may: each has its own.
    @Core private func look(_ guest: RunningGuest) async throws -> Look {
        let stream = try await HostStream.connect(port: guest.port)
        defer { stream.close() }
        var best: Look = (0, 0, .max)
        for _ in 0..<50 {
            let before = DispatchTime.now().uptimeNanoseconds
            let guest = UInt64(try await stream.figure("uptime"))
            let after = DispatchTime.now().uptimeNanoseconds
            if after - before < best.after - best.before { best = (before, guest, after) }
        }
        return best
    }

    /// The guest's clock runs as fast as the host's: the half millisecond at its start, in which the
    /// rate is first measured, is not enough. What a busy machine adds to a reading makes the bounds
    /// wider, not the test fail.
    @Test @Core func theGuestsClockRunsAsTheHosts() async throws {
        let folder = try TestFolder()
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        // The first measurement takes a second, or some more where the machine is busy.
        for _ in 0..<5 {
            try await Task.sleep(for: .seconds(2))
            _ = try await look(guest)
        }
        let first = try await look(guest)
        for _ in 0..<10 {
            try await Task.sleep(for: .seconds(3))
            _ = try await guest.figure("uptime")
        }
        let last = try await look(guest)
        let elapsed = Double(last.guest - first.guest)
        let least = elapsed / Double(last.after - first.before)
        let most = elapsed / Double(last.before - first.after)
        #expect(least < 1 + 5e-6 && most > 1 - 5e-6, "between \(least) and \(most)")
    }
}
