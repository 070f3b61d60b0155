import Foundation
import Launcher

/// The web server as a guest that runs until `end`.
final class Server: @unchecked Sendable {
    // SAFETY (@unchecked): the boxed values are written before a semaphore is signalled and read
    // after it was waited for.
    let port: UInt16
    /// The processes of the run.
    let processes: [(name: String, pid: Int32)]
    private let stop: @Sendable () -> Void
    private let ended: DispatchSemaphore

    private final class Box: @unchecked Sendable {
        var launch: Launch?
        var port: UInt16 = 0
        var failure: (any Error)?
    }

    /// Boots `image` on `folder`; throws if it does not serve within `patience` seconds.
    init(
        _ image: Image, folder: String, memory: String, device: String, patience: Double = 30
    ) throws {
        var machine = Machine(image: image.path)
        machine.memory = memory
        let (prepared, box) = (machine, Box())
        let (ready, ended) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        self.ended = ended
        Thread.detachNewThread {
            do {
                let launch = try Launch(
                    prepared, shares: [Share(tag: "site", folder: folder)],
                    ports: [PublishedPort(port: 0, guestPort: 80)], device: device)
                box.launch = launch
                launch.onReady = {
                    box.port = $0.port
                    ready.signal()
                }
                _ = try launch.run(console: .nullDevice)
            } catch { box.failure = error }
            ready.signal()
            ended.signal()
        }
        let isReady = ready.wait(timeout: .now() + patience) == .success
        guard isReady, box.port != 0, let launch = box.launch else {
            box.launch?.stop()
            throw LaunchError("the guest does not serve: \(box.failure.map { "\($0)" } ?? "late")")
        }
        port = box.port
        stop = launch.stop
        processes = launch.processes
    }

    /// Ends the run.
    func end() {
        stop()
        ended.wait()
    }

    /// The proportional set sizes of all processes, in bytes.
    var memory: Double {
        processes.reduce(0) { sum, process in
            let text =
                (try? String(contentsOfFile: "/proc/\(process.pid)/smaps_rollup", encoding: .utf8))
                ?? ""
            let line = text.split(separator: "\n").first { $0.hasPrefix("Pss:") } ?? ""
            let kilobytes = line.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
            return sum + kilobytes * 1024
        }
    }

    /// The processor time that all processes have used, in seconds.
    var processorTime: Double {
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        return processes.reduce(0) { sum, process in
            let text =
                (try? String(contentsOfFile: "/proc/\(process.pid)/stat", encoding: .utf8)) ?? ""
            let words = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
            guard words.count > 13, let user = Double(words[12]), let system = Double(words[13])
            else { return sum }
            return sum + (user + system) / ticks
        }
    }
}
