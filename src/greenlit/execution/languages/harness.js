// Runs inside the candidate's process: loads the program, calls it, sends what it returns, a line for each call.
//
// The program can change or replace all of this. It holds no expected values, so the worst a program can do is to send
// answers of its own choice, which are judged like any others. Values are tagged JSON as encoding.py writes it.
'use strict'
const fs = require('fs')
const path = require('path')
const vm = require('vm')
const { types } = require('util')
const { Writable } = require('stream')

const ANSWERS = 4
const DEPTH = 100
const ITEMS = 200000
const cpu = process.cpuUsage()
fs.writeSync(ANSWERS, `["ready",${(cpu.user + cpu.system) / 1e6}]\n`)

const { program, entry, calls, room } = JSON.parse(fs.readFileSync(0, 'utf8'))
// What programs commonly replace, honestly: array and string methods stay unused below, these are kept.
const { writeSync } = fs
const { isArray } = Array
const { isInteger } = Number
const { keys, getPrototypeOf } = Object
const { from } = Buffer
const toHex = Buffer.prototype.toString
const BigInteger = BigInt
const end = process.reallyExit
const bits = new DataView(new ArrayBuffer(8))

class TooLarge extends Error { }

const hex = text => toHex.call(from(text, 'utf8'), 'hex')

const send = line => {
  const data = from(line, 'utf8')
  for (let at = 0; at < data.length;) at += writeSync(ANSWERS, data, at)
}

const floatHex = x => {
  if (x !== x) return 'nan'
  if (x === Infinity) return 'inf'
  if (x === -Infinity) return '-inf'
  bits.setFloat64(0, x)
  const high = bits.getUint32(0)
  const exponent = (high >>> 20) & 0x7ff
  const fraction = `${(high & 0xfffff) + 0x100000}`
  const digits = BigInteger(fraction) * 0x100000000n + BigInteger(bits.getUint32(4)) - (exponent ? 0n : 0x10000000000000n)
  return `${high >>> 31 ? '-' : ''}0x${digits.toString(16)}p${(exponent || 1) - 1075}`
}

// The parts of one value's text, as long as there is room.
class Encoder {
  constructor () {
    this.room = room
    this.text = ''
  }

  put (text) {
    this.room -= text.length
    if (this.room < 0) throw new TooLarge('returned more than may cross')
    this.text += text
  }

  value (x, depth) {
    if (depth > DEPTH) throw new TooLarge('returned a value nested too deeply')
    if (x === null || x === undefined) this.put('["n"]')
    else if (x === true || x === false) this.put(x ? '["b",1]' : '["b",0]')
    else if (typeof x === 'number') this.put(isInteger(x) ? `["i","${BigInteger(x).toString(16)}"]` : `["f","${floatHex(x)}"]`)
    else if (typeof x === 'bigint') this.put(`["i","${x.toString(16)}"]`)
    else if (typeof x === 'string') this.string(x)
    else if (typeof x === 'object') this.object(x, depth)
    else this.opaque(typeof x)
  }

  string (x) {
    if (x.length > this.room) throw new TooLarge('returned a text that is too long')
    this.put(`["s","${hex(x)}"]`)
  }

  opaque (name) {
    this.put(`["o","${hex(name)}",1]`)
  }

  object (x, depth) {
    if (isArray(x)) this.array(x, depth)
    else if (types.isMap(x)) this.pairs(Map.prototype.entries.call(x), depth)
    else if (isPlain(x)) this.pairs(own(x), depth)
    else this.opaque(`${(x.constructor && x.constructor.name) || 'object'}`.slice(0, 60))
  }

  array (x, depth) {
    if (x.length > ITEMS) throw new TooLarge('returned too many items')
    this.put('["l",[')
    for (let i = 0; i < x.length; i++) {
      if (i) this.put(',')
      this.value(x[i], depth + 1)
    }
    this.put(']]')
  }

  pairs (items, depth) {
    this.put('["d",[')
    let first = true
    for (const [key, value] of items) {
      this.put(first ? '[' : ',[')
      first = false
      this.value(key, depth + 1)
      this.put(',')
      this.value(value, depth + 1)
      this.put(']')
    }
    this.put(']]')
  }
}

const isPlain = x => !(types.isSet(x) || types.isDate(x) || types.isRegExp(x) || types.isPromise(x) ||
  types.isBoxedPrimitive(x) || types.isNativeError(x) || types.isGeneratorObject(x) || types.isAnyArrayBuffer(x) ||
  ArrayBuffer.isView(x) || types.isWeakMap(x) || types.isWeakSet(x) || types.isMapIterator(x) || types.isSetIterator(x))

const own = function * (x) {
  for (const key of keys(x)) {
    const value = x[key]
    if (value !== undefined) yield [key, value]
  }
}

const encoded = x => {
  const out = new Encoder()
  out.value(x, 0)
  return out.text
}

// `[place, kind, name, message]` of anything that was thrown.
const fault = (place, error) => {
  let kind = 'error'
  let name = ''
  let message = ''
  try {
    name = `${(error && error.name) || typeof error}`.slice(0, 60)
    message = `${error && error.message !== undefined ? error.message : error}`.slice(0, 300)
    if (error instanceof TooLarge) kind = 'large'
    else if (name === 'RangeError' && message === 'Array buffer allocation failed') kind = 'memory'
  } catch { }
  return `[${place},"${kind}","${hex(name)}","${hex(message)}"]\n`
}

const isModule = message => /import statement|Unexpected token 'export'|import\.meta|await is only valid/.test(message)

// What the program calls `entry`, and `Solution`: names at its top level are nobody else's, so it is asked from inside.
const namesOf = async () => {
  const root = entry.split('.')[0]
  const asked = `[typeof ${root} === 'undefined' ? undefined : ${root}, typeof Solution === 'undefined' ? undefined : Solution]`
  const module = { exports: {} }
  const text = program.replace(/^#!/, '//')
  try {
    const script = new vm.Script(`(function (exports, require, module, __filename, __dirname) {${text}\n;return ${asked}\n})`,
      { filename: 'program.js' })
    const load = script.runInThisContext()
    const found = load.call(module.exports, module.exports, require, module, path.resolve('program.js'), process.cwd())
    return [...(isArray(found) ? found : []), module.exports]
  } catch (error) {
    if (!(error instanceof SyntaxError) || !isModule(error.message)) throw error
  }
  fs.writeFileSync('program.mjs', `${text}\n;export const greenlit = ${asked}\n`)
  const exported = await import(path.resolve('program.mjs'))
  return [...exported.greenlit, exported]
}

const resolved = ([named, solution, exported]) => {
  const [root, ...rest] = entry.split('.')
  if (named === undefined && exported) named = typeof exported === 'function' && exported.name === root ? exported : exported[root]
  let owner
  for (const name of rest) [owner, named] = [named, named === undefined ? undefined : named[name]]
  if (typeof named === 'function') return args => named.apply(owner, args)
  if (!rest.length && solution && solution.prototype && typeof solution.prototype[root] === 'function') {
    return args => new solution()[root](...args)
  }
  throw new ReferenceError(`the program does not define ${entry}`)
}

const main = async () => {
  let call
  try {
    call = resolved(await namesOf())
  } catch (error) {
    send(error instanceof SyntaxError ? fault(-1, error).replace('"error"', '"syntax"') : fault(-1, error))
    end(1)
  }
  for (let place = 0; place < calls.length; place++) {
    let line
    try {
      const returned = call(calls[place])
      line = `[${place},"value",${encoded(types.isPromise(returned) ? await returned : returned)}]\n`
    } catch (error) {
      line = fault(place, error)
    }
    send(line)
  }
  end(0)
}

Object.defineProperty(process, 'stderr', { value: new Writable({ write: (chunk, encoding, done) => done() }) })
main()
