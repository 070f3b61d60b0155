import Foundation
import Launcher
import LoadClient
import Testing
import ToroCore

/// `toro` where it may do less than root of a whole machine, and what its parts may do.
@Suite(.enabled(if: geteuid() == 0)) struct ConfinementTests {
    /// As root of a container that was given no more than containers are.
    private static let container = [
        "/usr/bin/setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin",
    ]
    /// The same of one that grants no namespaces either.
    static let narrow =
        shell("echo 0 >/proc/sys/user/max_user_namespaces") + ConfinementTests.container

    private static func shell(_ script: String) -> [String] {
        ["/usr/bin/unshare", "-U", "-r", "-m", "/bin/sh", "-c", script + " && exec \"$@\"", "sh"]
    }

    private func folder() throws -> TestFolder {
        let folder = try TestFolder()
        try folder.write(Array("alpha".utf8), to: "a.txt")
        return folder
    }

    private func list(_ share: String, prefix: [String]) throws -> (status: Int32?, text: String) {
        let run = try ToroProcess(
            ["run", try Images.probe().path, "--share", "site=\(share)", "--", "files"],
            prefix: prefix)
        return (run.status(), run.output)
    }

    @Test(arguments: ["", ":rw"]) func sharesNeedNoAdministrator(_ mode: String) throws {
        let folder = try folder()
        let (status, text) = try list(folder.path + mode, prefix: ConfinementTests.container)
        #expect(status == 0 && text.contains("612e747874 5 "), "\(text)")
    }

    /// Root in a container reads what root reads: files of others, too.
    @Test func aContainersRootReadsOthersFiles() throws {
        let folder = try folder()
        // SAFETY: the path is a C string for the calls.
        #expect(unsafe chown(folder.path + "/a.txt", 1234, 1234) == 0)
        #expect(unsafe chmod(folder.path + "/a.txt", 0o600) == 0)
        let (status, text) = try list(folder.path, prefix: ConfinementTests.container)
        #expect(status == 0 && text.contains("612e747874 5 "), "\(text)")
    }

    /// As root of a container that grants no namespaces either, which is the default of some: there
    /// are none, or the calls for them are refused.
    @Test(arguments: ["", ":rw"], [false, true])
    func sharesNeedNoNamespaces(_ mode: String, _ isRefused: Bool) throws {
        let folder = try folder()
        let probe = try #require(Images.tool("ConfinementProbe"), "the probe is not built")
        let refused = [probe, "container"] + ConfinementTests.container
        let run = try ToroProcess(
            [
                "run", try Images.webProbe().path, "--share", "site=\(folder.path)\(mode)",
                "--publish", "0:80",
            ],
            prefix: isRefused ? refused : ConfinementTests.narrow)
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let port = try #require(run.output.split(separator: ":").last?.split(separator: "\n").first)
        #expect(try ClientSocket.body(of: "/a.txt", port: port) == "alpha")
        run.signal(SIGINT)
        #expect(run.status() == 130, "\(run.output)")
    }

    /// Where nothing can confine a daemon, a message says why and what to do.
    @Test func whatCannotStartSaysWhy() throws {
        let folder = try folder()
        let (status, text) = try list(
            folder.path,
            prefix: ConfinementTests.shell("echo 0 >/proc/sys/user/max_user_namespaces") + [
                "/usr/bin/setpriv", "--bounding-set", "-sys_admin,-sys_chroot", "--inh-caps",
                "-sys_admin,-sys_chroot",
            ])
        #expect(status == 125)
        #expect(text.contains("virtiofsd (share site)"), "\(text)")
        #expect(text.contains("sysctl -w user.max_user_namespaces"), "\(text)")
    }

    /// What doctor says is what a run would meet: it tries.
    @Test func doctorTriesWhatItJudges() throws {
        let run = try ToroProcess(["doctor"])
        #expect(run.status() == 0, "\(run.output)")
        for subject in ["a guest", "a read-only share", "a writable share", "a published port"] {
            #expect(run.output.contains("ok       \(subject): tried"), "\(run.output)")
        }
        let poor = try ToroProcess(
            ["doctor"],
            prefix: ConfinementTests.shell("echo 0 >/proc/sys/user/max_user_namespaces") + [
                "/usr/bin/setpriv", "--bounding-set", "-sys_admin,-sys_chroot", "--inh-caps",
                "-sys_admin,-sys_chroot",
            ])
        #expect(poor.status() == 0, "\(poor.output)")
        for mode in ["read-only", "writable"] {
            #expect(poor.output.contains("note     a \(mode) share: cannot give"), "\(poor.output)")
        }
        #expect(poor.output.contains("sysctl -w user.max_user_namespaces"), "\(poor.output)")
    }

    /// What is mounted below a read-only folder is read-only, too.
    @Test func mountsBelowAReadOnlyFolderAreReadOnly() throws {
        let folder = try folder()
        let below = folder.path + "/below"
        try FileManager.default.createDirectory(atPath: below, withIntermediateDirectories: true)
        let run = try ToroProcess(
            [
                "run", try Images.webProbe().path, "--share", "site=\(folder.path)", "--publish",
                "0:80",
            ],
            prefix: ConfinementTests.shell(
                "mount -t tmpfs none '\(below)' && touch '\(below)/mark'"))
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let roots = run.parts.map { "/proc/\($0.pid)/root/" }
            .filter { FileManager.default.fileExists(atPath: $0 + "below/mark") }
        #expect(!roots.isEmpty, "\(run.parts)")
        for root in roots {
            // SAFETY: the path is a C string for the call.
            let file = unsafe open(root + "below/new", O_CREAT | O_WRONLY | O_EXCL, 0o644)
            #expect(file < 0 && errno == EROFS)
        }
        run.signal(SIGINT)
        #expect(run.status() == 130, "\(run.output)")
    }
}

/// What the parts of a run of root's may do.
@Suite(.enabled(if: geteuid() == 0)) struct PartTests {
    /// What proc_pid_status(5) says of a process.
    private func status(of pid: Int32) throws -> [String: String] {
        let text = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let lines = text.split(separator: "\n").map { $0.split(separator: ":", maxSplits: 1) }
        return Dictionary(
            uniqueKeysWithValues: lines.filter { $0.count == 2 }.map { line in
                (
                    String(line[0]),
                    line[1].split(whereSeparator: \.isWhitespace).joined(separator: " ")
                )
            })
    }

    /// Even an image that only root may read boots; QEMU is nobody and can become nobody else.
    @Test func noPartHasRightsThatItDoesNotNeed() throws {
        let folder = try TestFolder()
        let image = folder.path + "/private.image"
        try FileManager.default.copyItem(atPath: try Images.webProbe().path, toPath: image)
        // SAFETY: the paths are C strings for the calls.
        #expect(unsafe chmod(image, 0o600) == 0)
        #expect(unsafe chmod(folder.path, 0o700) == 0)
        let run = try ToroProcess(
            ["run", image, "--share", "site=\(folder.path):rw", "--publish", "0:80"],
            prefix: ["/usr/bin/env", "SECRET=xyzzy", "/usr/bin/prlimit", "--nofile=512:2048"])
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let parts = run.parts
        let qemu = try status(of: try #require(parts.first { $0.name.hasPrefix("qemu") }).pid)
        let user = try #require(qemu["Uid"]?.split(separator: " "))
        #expect(Set(user).count == 1 && user[0] != "0", "\(qemu)")
        #expect(qemu["Uid"] == qemu["Gid"] && qemu["Groups"] == "", "\(qemu)")
        #expect(qemu["CapPrm"] == "0000000000000000")
        // One filter is the launcher's; the others are those of QEMU's -sandbox.
        #expect(Int(qemu["Seccomp_filters"] ?? "") ?? 0 >= 2, "\(qemu)")
        for part in parts {
            let limits = try String(contentsOfFile: "/proc/\(part.pid)/limits", encoding: .utf8)
            #expect(limits.contains(/Max open files +2048 +2048/), "\(part.name): \(limits)")
            let environment = try Data(
                contentsOf: URL(fileURLWithPath: "/proc/\(part.pid)/environ"))
            #expect(environment.range(of: Data("PATH=".utf8)) != nil)
            #expect(environment.range(of: Data("xyzzy".utf8)) == nil, "\(part.name)")
            let status = try status(of: part.pid)
            #expect(status["NoNewPrivs"] == "1", "\(part.name)")
            #expect(status["Seccomp"] == "2", "\(part.name)")
        }
        run.signal(SIGINT)
        #expect(run.status() == 130, "\(run.output)")
    }
}

/// What a guest that wants to become root of its host can leave in a folder that it may write.
@Suite(.serialized, .enabled(if: geteuid() == 0)) struct IntruderTests {
    /// As root of the machine with a folder of root's or another's, and as root of a container.
    @Test(arguments: [
        (owner: UInt32(0), prefix: ["/usr/bin/env"]),
        (owner: UInt32(1234), prefix: ["/usr/bin/env"]),
        (
            owner: UInt32(0),
            prefix: [
                "/usr/bin/setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin",
            ]
        ),
    ])
    func aWritableShareHoldsNothingThatGivesRights(
        _ host: (owner: UInt32, prefix: [String])
    ) throws {
        let folder = try TestFolder()
        try folder.write(Array("program".utf8), to: "program")
        for path in [folder.path, folder.path + "/program"] {
            // SAFETY: the path is a C string for the call.
            #expect(unsafe chown(path, host.owner, host.owner) == 0)
        }
        // SAFETY: the path is a C string for the call.
        #expect(unsafe chmod(folder.path + "/program", 0o6755) == 0)
        let run = try ToroProcess(
            [
                "run", try Images.probe().path, "--share", "site=\(folder.path):rw", "--",
                "intruder",
            ],
            prefix: host.prefix)
        #expect(run.status() == 0, "\(run.output)")
        // It could do what is harmless.
        for deed in ["create-plain", "mode-plain", "node-pipe", "open-program", "write-program"] {
            #expect(run.output.contains("intruder: \(deed) 0"), "\(run.output)")
        }
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(Set(names).isSuperset(of: ["pipe", "plain", "program"]), "\(names)")
        for name in names {
            var status = stat()
            // SAFETY: the path is a C string for the call, and the structure outlives it.
            #expect(unsafe lstat(folder.path + "/" + name, &status) == 0)
            #expect(status.st_mode & (S_ISUID | S_ISGID) == 0, "\(name) has set-id bits")
            let kind = status.st_mode & S_IFMT
            #expect(kind != S_IFCHR && kind != S_IFBLK, "\(name) is a device")
            #expect(status.st_uid == host.owner, "\(name)")
        }
        let program = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/program"))
        #expect(program == Data("evilram".utf8))
    }

    /// A folder that only a filter makes read-only stays as it is, too, whoever its files are.
    @Test(arguments: ["intruder", "changes"])
    func aReadOnlyShareNeedsNoNamespaceToStaySo(_ experiment: String) throws {
        let folder = try TestFolder()
        for name: Path in ["plain", "program"] { try folder.write(Array("x".utf8), to: name) }
        let files = FileManager.default
        try files.createDirectory(
            atPath: folder.path + "/folder", withIntermediateDirectories: false)
        func state() throws -> [String] {
            try files.contentsOfDirectory(atPath: folder.path).sorted().map { name in
                let path = folder.path + "/" + name
                let attributes = try files.attributesOfItem(atPath: path)
                let keys: [FileAttributeKey] = [
                    .type, .size, .posixPermissions, .ownerAccountID, .modificationDate,
                    .referenceCount,
                ]
                return name + keys.map { " \(attributes[$0] ?? "-")" }.joined()
            }
        }
        let before = try state()
        let run = try ToroProcess(
            ["run", try Images.probe().path, "--share", "site=\(folder.path)", "--", experiment],
            prefix: ConfinementTests.narrow)
        #expect(run.status() == 0, "\(run.output)")
        let deeds = run.output.split(whereSeparator: \.isNewline)
            .filter { $0.hasPrefix(experiment + ": ") }
        #expect(deeds.count >= 11, "\(run.output)")
        for deed in deeds { #expect(!deed.hasSuffix(" 0"), "\(deed)") }
        // Most say EROFS; a daemon has its own words for some.
        #expect(deeds.filter { $0.hasSuffix(" 30") }.count >= 10, "\(run.output)")
        #expect(try state() == before)
    }
}

/// What is left to whoever breaks into the vsock device.
@Suite struct DeviceConfinementTests {
    private var probe: String {
        get throws { try #require(Images.tool("ConfinementProbe"), "the probe is not built") }
    }

    @Test func onlyBytesOfOpenFilesMove() throws {
        let answer = try Command.capture(try probe, [])
        #expect(answer.status == 0, "\(answer.output)")
        let lines = answer.output.split(separator: "\n").map { $0.split(separator: ": ") }
        let done = lines.filter { $0[1] != "refused" }
        #expect(done.map { $0[0] } == ["bytes", "memory", "queue", "user"], "\(answer.output)")
        #expect(done.allSatisfy { $0[1] == "done" })
        #expect(lines.count > 20)
    }

    @Test func callsOfAnotherArchitectureKill() throws {
        #expect(try Command.capture(try probe, ["compat"]).status == 128 + SIGSYS)
    }
}

/// Paths that the words and the kernel read differently.
@Suite struct PathTests {
    @Test func aPackageIsFoundAsTheKernelFindsIt() throws {
        let folder = try TestFolder()
        let files = FileManager.default
        for name in ["/there/real", "/here"] {
            try files.createDirectory(
                atPath: folder.path + name, withIntermediateDirectories: true)
        }
        try folder.write([], to: "here/Package.swift")
        try files.createSymbolicLink(
            atPath: folder.path + "/here/link", withDestinationPath: folder.path + "/there/real")
        // Foundation's own reading differs for relative paths only.
        let depth = files.currentDirectoryPath.split(separator: "/").count
        let base = String(repeating: "../", count: depth) + folder.path.dropFirst()
        let run = try ToroProcess(["build", base + "/here/link/.."])
        #expect(run.status() == 64)
        #expect(run.output.contains("/there is no package"), "\(run.output)")
    }
}
