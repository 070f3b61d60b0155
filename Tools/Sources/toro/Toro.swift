import ArgumentParser
import Foundation
import Launcher

/// The command line of Toro.
@main struct Toro: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "toro",
        abstract: "Builds microservices into unikernel images and boots them as microVMs.",
        version: "\(version) (unreleased), for Swift \(Checkup.supportedSwift)",
        subcommands: [
            New.self, Run.self, Build.self, Test.self, Size.self, SDK.self, Doctor.self,
            MakePackage.self,
        ])

    /// Toro's own version.
    static let version = "0"

    static func main() {
        StandardStreams.open()
        // Swift reads the command line there, too.
        guard realPath("/proc/self/exe") != nil else {
            say("/proc is not mounted, and toro needs it: mount -t proc proc /proc")
            Glibc.exit(69)
        }
        main(RawArguments.all)
    }

    /// The folder of Toro itself, which ./toro names. A packaged toro has none.
    static var root: String {
        get throws(LaunchError) {
            guard let folder = RawText.environment("TORO_ROOT") else {
                throw .missing(
                    """
                    this toro runs images, with toro run IMAGE. All else takes Toro's sources and \
                    Swift \(Checkup.supportedSwift): type ./toro in a checkout
                    """)
            }
            return folder
        }
    }

    /// The path of what is there, without links and `..`: as the kernel finds it, which is not as
    /// the words read. A path that leads nowhere stays as it is.
    static func absolute(_ path: String) throws(LaunchError) -> String {
        try HostFile.realPath(path) ?? path
    }

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
