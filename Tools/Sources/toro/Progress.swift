import Foundation
import Launcher

/// How far a build is: SwiftPM's last `[n/m]` line, rewritten in place on the terminal.
final class Progress {
    private let title: String
    private let start = ContinuousClock.now
    /// The beginning of a line whose end has not come yet.
    private var rest: [UInt8] = []
    private var isShown = false

    /// Nil when standard error is no terminal that can rewrite a line.
    init?(_ title: String) {
        guard isatty(STDERR_FILENO) == 1, ProcessInfo.processInfo.environment["TERM"] != "dumb"
        else { return nil }
        self.title = title
    }

    /// Takes what SwiftPM writes.
    func take(_ bytes: [UInt8]) {
        var lines = (rest + bytes).split(
            separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        rest = Array(lines.removeLast().prefix(4096))
        guard let last = lines.last(where: { $0.first == UInt8(ascii: "[") }) else { return }
        // What is over at once needs no progress.
        if ContinuousClock.now - start > .seconds(1) {
            show(String(decoding: last, as: UTF8.self))
        }
    }

    /// Leaves the line empty.
    func clear() {
        if isShown { write("\r\u{1b}[K") }
        isShown = false
    }

    private func show(_ step: String) {
        var size = winsize()
        // SAFETY: the request fills in the structure, which outlives the call.
        let isKnown = unsafe ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0
        let columns = isKnown && size.ws_col > 0 ? Int(size.ws_col) : 80
        // A line that reached the last column could not be rewritten.
        write("\r\u{1b}[K" + shown("toro: \(title) \(step)").prefix(columns - 1))
        isShown = true
    }

    private func write(_ text: String) {
        Interrupts.write(text, to: STDERR_FILENO)
    }
}
