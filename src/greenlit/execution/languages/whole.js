// Runs inside the candidate's process: says that it has started, then becomes the program in program.js.
'use strict'
const fs = require('fs')
const Module = require('module')
const path = require('path')
const vm = require('vm')
const { Writable } = require('stream')

const ANSWERS = 4
const cpu = process.cpuUsage()
fs.writeSync(ANSWERS, `["ready",${(cpu.user + cpu.system) / 1e6}]\n`)

// There is no /proc in a jail, and so no /dev/stdin, which is how most programs open their input.
for (const name of ['openSync', 'readFileSync', 'createReadStream', 'readFile', 'open']) {
  const plain = fs[name]
  fs[name] = (file, ...rest) => {
    if (file !== '/dev/stdin' && file !== '/proc/self/fd/0') return plain(file, ...rest)
    if (name === 'openSync') return 0
    if (name === 'open') return rest[rest.length - 1](null, 0)
    if (name !== 'createReadStream') return plain(0, ...rest)
    const options = typeof rest[0] === 'string' ? { encoding: rest[0] } : rest[0]
    return plain('', { ...options, fd: 0, autoClose: false })
  }
}
Module.syncBuiltinESMExports()

// What a program writes there does not count, and is not kept; the interpreter's own last words go past this.
Object.defineProperty(process, 'stderr', { value: new Writable({ write: (chunk, encoding, done) => done() }) })

const text = fs.readFileSync('program.js', 'utf8')
let file = 'program.js'
try {
  new vm.Script(Module.wrap(text.replace(/^#!/, '//')), { filename: file })
} catch (error) {
  if (/import statement|Unexpected token 'export'|import\.meta|await is only valid/.test(error.message)) {
    file = 'program.mjs'
    fs.renameSync('program.js', file)
  } else {
    const words = [error.name, error.message].map(word => Buffer.from(word.slice(0, 300)).toString('hex'))
    fs.writeSync(ANSWERS, `[-1,"syntax","${words[0]}","${words[1]}"]\n`)
    process.reallyExit(1)
  }
}
process.argv[1] = path.resolve(file)
delete require.cache[module.filename]
Module.runMain()
