import ArgumentParser
import Foundation
import Launcher

/// The command line of Toro.
@main struct Toro: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "toro",
        abstract: "Builds microservices into unikernel images and boots them as microVMs.",
        subcommands: [Run.self, Build.self, Test.self])

    /// The folder of Toro itself, which ./toro names.
    static var root: String {
        ProcessInfo.processInfo.environment["TORO_ROOT"] ?? FileManager.default.currentDirectoryPath
    }

    /// An absolute path.
    static func absolute(_ path: String) -> String {
        URL(fileURLWithPath: path).standardizedFileURL.path
    }

    /// Runs `body`; prints a launcher's error as one message and ends with its status.
    static func reporting(_ body: () throws -> Int32) throws {
        do {
            let status = try body()
            if status != 0 { throw ExitCode(status) }
        } catch let error as LaunchError {
            FileHandle.standardError.write(Data("toro: \(error.description)\n".utf8))
            throw ExitCode(error.status)
        }
    }
}

struct Build: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Builds a package's image.")

    @Argument(help: "The package's folder.") var path: String
    @Option(name: .shortAndLong, help: "Where the image goes.") var output: String?
    @Option(help: "The executable product; by default the name of the folder.")
    var product: String?

    func run() throws {
        try Toro.reporting {
            let folder = Toro.absolute(path)
            let name = product ?? URL(fileURLWithPath: folder).lastPathComponent
            let image = try ImageBuild(root: Toro.root).build(package: folder, product: name)
            if let output {
                try? FileManager.default.removeItem(atPath: output)
                try FileManager.default.copyItem(atPath: image.path, toPath: output)
            }
            print("\(output ?? image.path): \(image.size) bytes")
            return 0
        }
    }
}

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Builds a package if needed and boots its image.",
        discussion: "Ends with the guest's exit status; 125 if the guest could not be started.")

    @Argument(help: "A package's folder, or an image.") var path: String
    @Option(help: "RAM, for example 32M.") var memory = "32M"
    @Option(help: "Cores.") var cpus = 1
    @Option(help: "auto, kvm or tcg.") var accel = "auto"
    @Option(name: .customLong("env"), help: "NAME=VALUE for the service's environment.")
    var environment: [String] = []
    @Argument(parsing: .postTerminator, help: "The service's arguments, behind --.")
    var arguments: [String] = []

    func run() throws {
        try Toro.reporting {
            var machine = Machine(image: try image())
            guard let accelerator = Accelerator(rawValue: accel) else {
                throw LaunchError.usage("--accel takes auto, kvm or tcg, not \(accel)")
            }
            guard (1...255).contains(cpus) else {
                throw LaunchError.usage("--cpus takes a number from 1 to 255")
            }
            machine.accelerator = accelerator
            machine.memory = memory
            machine.cores = cpus
            machine.arguments = arguments
            machine.epoch = Date()
            for entry in environment {
                guard let mark = entry.firstIndex(of: "="), mark != entry.startIndex else {
                    throw LaunchError.usage("--env takes NAME=VALUE, not \(entry)")
                }
                machine.environment.append(
                    (String(entry[..<mark]), String(entry[entry.index(after: mark)...])))
            }
            let ended = try Command.passThrough(Machine.qemu(), machine.qemuArguments)
            guard let status = Machine.guestStatus(ofQEMU: ended) else {
                throw LaunchError("QEMU ended with status \(ended), not through the guest's exit")
            }
            return status
        }
    }

    private func image() throws -> String {
        let full = Toro.absolute(path)
        var isFolder: ObjCBool = false
        // SAFETY: the flag outlives the call.
        guard unsafe FileManager.default.fileExists(atPath: full, isDirectory: &isFolder) else {
            throw LaunchError.usage("there is no \(path)")
        }
        guard isFolder.boolValue else { return full }
        let name = URL(fileURLWithPath: full).lastPathComponent
        return try ImageBuild(root: Toro.root).build(package: full, product: name).path
    }
}
