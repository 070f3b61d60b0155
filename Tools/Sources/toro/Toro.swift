import ArgumentParser
import Foundation
import Launcher

/// The command line of Toro.
@main struct Toro: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "toro",
        abstract: "Builds microservices into unikernel images and boots them as microVMs.",
        version: "0 (unreleased), for Swift \(Checkup.supportedSwift)",
        subcommands: [New.self, Run.self, Build.self, Test.self, Size.self, SDK.self, Doctor.self])

    static func main() {
        StandardStreams.open()
        main(RawArguments.all)
    }

    /// The folder of Toro itself, which ./toro names.
    static var root: String {
        RawText.environment("TORO_ROOT") ?? FileManager.default.currentDirectoryPath
    }

    /// The path of what is there, without links and `..`: as the kernel finds it, which is not as
    /// the words read. A path that leads nowhere stays as it is.
    static func absolute(_ path: String) -> String { realPath(path) ?? path }

    /// The program that serves published ports, beside this one.
    static var vsockDevice: String? {
        guard let own = realPath("/proc/self/exe") else { return nil }
        let path = (own as NSString).deletingLastPathComponent + "/toro-vsock-device"
        return isExecutable(path) ? path : nil
    }

    /// Says something to the person at the terminal. Some of the words are an image's, a guest's or
    /// a file's name: no terminal takes them for orders.
    static func say(_ text: String) {
        Interrupts.write("toro: \(shown(text))\n", to: STDERR_FILENO)
    }

    /// Runs `body`, which signals end in order; prints a launcher's error as one message and ends
    /// with its status.
    static func reporting(_ body: @escaping () throws -> Int32) throws {
        do {
            try Interrupts.watch()
            let status = try Interrupts.run(body)
            if status != 0 { throw ExitCode(status) }
        } catch let error as LaunchError {
            say(error.description)
            throw ExitCode(error.status)
        }
    }
}
