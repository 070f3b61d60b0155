import Foundation

/// Has a thread that waits for descriptors hear of what another thread did.
final class Wakeup: Sendable {
    /// Polls readable once somebody has called.
    let reader: Int32
    private let writer: Int32

    init() throws(LaunchError) {
        (reader, writer) = try makePipe()
        for file in [reader, writer] { _ = fcntl(file, F_SETFL, O_NONBLOCK) }
    }

    deinit {
        close(reader)
        close(writer)
    }

    /// Calls, on any thread.
    func call() {
        // A full pipe is as good.
        var byte: UInt8 = 0
        // SAFETY: one byte, which outlives the call.
        _ = unsafe write(writer, &byte, 1)
    }

    /// Whether somebody has called since the last time.
    func wasCalled() -> Bool {
        var was = false
        while readSome(reader) != nil { was = true }
        return was
    }
}
