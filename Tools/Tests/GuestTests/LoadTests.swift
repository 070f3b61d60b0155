import Foundation
import Launcher
import LoadClient
import Testing
import ToroCore
import ToroHost

/// Load as from many browsers: small files and large ones, for one client and for hundreds.
@Suite(.serialized) struct LoadTests {
    /// What no busy machine makes of the second in which something moves on a quiet one, to which
    /// Benchmarks hold the server: silence is counted only while this process itself runs.
    private static let silence = 10.0

    /// Half a minute of load in all. Every byte of every answer is compared, the server never stands
    /// still, and no connection is left.
    @Test @Core func everyAnswerComesWhole() async throws {
        let folder = try TestFolder()
        let sizes = [1_000, 10_000, 100_000, 1_000_000]
        for size in sizes { try folder.write(LoadTests.content(size), to: Path("\(size)")) }
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        for size in sizes {
            for connections in [1, 64, 256] {
                let load = Load(
                    port: guest.port, target: "/\(size)", body: LoadTests.content(size),
                    connections: connections, seconds: 2.5, silence: LoadTests.silence)
                let outcome = load.run()
                let name = "\(size) bytes, \(connections) connections"
                print("load: \(name): \(Int(outcome.rate)) answers/s,", terminator: " ")
                print("silent for \(outcome.longestSilence) s at most")
                #expect(outcome.faults.isEmpty, "\(name): \(outcome)")
                #expect(outcome.answers >= connections, "\(name): \(outcome)")
                // A server that stands still has nothing to say about its connections either, and one
                // that keeps some would keep them in all the rounds that follow.
                guard outcome.faults.isEmpty else { return }
                do {
                    try await guest.settle()
                } catch {
                    throw LaunchError("\(name): \(error)")
                }
            }
        }
    }

    /// Bytes that differ from place to place and from file to file.
    private static func content(_ size: Int) -> [UInt8] {
        (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 8 ^ size >> 3) }
    }
}
