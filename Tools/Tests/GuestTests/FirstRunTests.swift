import Foundation
import Launcher
import Testing
import ToroTesting

/// `./toro` on a machine that lacks something.
@Suite struct FirstRunTests {
    /// Runs `./toro` where only these programs are in PATH, each a line of shell.
    private func run(
        _ programs: [String: String], _ arguments: [String] = ["run", "x"],
        script: String = Images.root + "/toro"
    ) throws -> Finished {
        let folder = try TestFolder()
        for name in [
            "bash", "dirname", "sed", "head", "find", "mkdir", "mktemp", "rm", "cat", "ls", "id",
        ] {
            let path = try #require(Command.find(name))
            try FileManager.default.createSymbolicLink(
                atPath: folder.path + "/" + name, withDestinationPath: path)
        }
        for (name, script) in programs {
            let path = folder.path + "/" + name
            try? FileManager.default.removeItem(atPath: path)
            let isMade = FileManager.default.createFile(
                atPath: path, contents: Data("#!/bin/sh\n\(script)\n".utf8),
                attributes: [.posixPermissions: 0o755])
            #expect(isMade)
        }
        return try Command.capture(
            "/usr/bin/env",
            ["-i", "PATH=\(folder.path)", folder.path + "/bash", script] + arguments,
            limit: Patience.seconds)
    }

    @Test func withoutSwiftItIsNamed() throws {
        let ended = try run([:])
        #expect(ended.status == 69)
        #expect(ended.output.contains("swift.org/install"), "\(ended.output)")
    }

    /// As the loader does when a library of the toolchain's is missing.
    private static let broken = "echo 'swift: libxml2.so.2: cannot open shared object'; exit 127"

    /// The command is not built yet: the script asks Swift first.
    @Test func aSwiftThatCannotStartIsNamedByTheScript() throws {
        let checkout = try TestFolder()
        let script = checkout.path + "/toro"
        try FileManager.default.copyItem(atPath: Images.root + "/toro", toPath: script)
        let ended = try run(["swift": Self.broken], ["build", "x"], script: script)
        #expect(ended.status == 69)
        #expect(ended.output.contains("/swift cannot start: swift: libxml2"), "\(ended.output)")
    }

    /// A test that crashes says so by its status: a report would take minutes, if it came at all.
    @Test func testsWriteNoReportsOfCrashes() throws {
        let (folder, path) = try TestFolder.inPath(
            "swift", "echo \"told: $SWIFT_BACKTRACE\"; exit 1")
        defer { _ = folder }
        let run = try ToroProcess(["test", "noSuchTest", "-c", "debug"], path: path)
        #expect(run.status() == 1, "\(run.output)")
        #expect(run.output.contains("told: enable=no"), "\(run.output)")
    }

    @Test(arguments: ["swift", "swiftc"])
    func aSwiftThatCannotStartIsNamed(_ name: String) throws {
        let (folder, path) = try TestFolder.inPath(name, Self.broken)
        defer { _ = folder }
        let package = Images.root + "/Samples/HelloWorld"
        let build = try ToroProcess(["build", package, "-c", "release"], path: path)
        #expect(build.status() == 69)
        #expect(build.output.contains("/\(name) cannot start: swift: libxml2"), "\(build.output)")
        let doctor = try ToroProcess(["doctor"], path: path)
        #expect(doctor.status() != 0)
        #expect(doctor.output.contains("/\(name) cannot start: swift: libxml2"), "\(doctor.output)")
    }

    @Test(
        arguments: [
            ("dnf", "dnf install qemu-system-x86-core"), ("pacman", "pacman -S qemu-system-x86"),
            ("zypper", "zypper install qemu-x86"), ("apk", "apk add qemu-system-x86_64"),
        ])
    func theCommandToTypeIsTheDistributions(_ example: (manager: String, words: String)) throws {
        let ended = try run(["swift": "", example.manager: "", "id": "echo 1000"])
        #expect(ended.status == 69)
        #expect(ended.output.contains("missing: QEMU"), "\(ended.output)")
        #expect(ended.output.contains("Type: sudo " + example.words), "\(ended.output)")
    }

    @Test func whatAptSaysComesWhenItFails() throws {
        let ended = try run([
            "swift": "", "id": "echo 0", "apt-get": "echo one of many lines; exit 100",
        ])
        #expect(ended.status == 69)
        #expect(ended.output.contains("one of many lines"), "\(ended.output)")
        #expect(ended.output.contains("could not install qemu-system-x86"), "\(ended.output)")
    }

    /// The peers are in a folder, which needs neither QEMU nor virtiofsd outside.
    @Test func withoutDebootstrapThePeersNameIt() throws {
        let programs = ["swift": "", "dnf": "", "id": "echo 0"]
        let ended = try run(programs, ["test", "--peers"])
        #expect(ended.status == 69)
        #expect(ended.output.contains("missing: debootstrap. Type: dnf install debootstrap"))
        #expect(try run(programs, ["run", "--", "--peers"]).output.contains("missing: QEMU"))
    }
}
