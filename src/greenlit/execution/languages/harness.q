/ Runs inside the candidate's process, before the program: how answers are sent, a line for each, on standard error.
/ The program can replace all of this. No expected value is here, so it can do no more than send answers of its choice.
.greenlit.hex:{raze string "x"$x};
.greenlit.say:{[place;kind;parts] -2 "[",(string place),",\"",kind,"\"",(raze ",",/:parts),"]";};
.greenlit.fault:{[place;text] .greenlit.say[place;"error";("\"\"";"\"",.greenlit.hex[text],"\"")]};
/ numbers with all their digits in answers, with q's seven in what the program prints and makes texts of
.greenlit.json:{system "P 0"; r:@[.j.j;x;{system "P 7"; 'x}]; system "P 7"; r};
.greenlit.try:{[place;f;x] r:@[{(1b;.greenlit.json x[0] x 1)};(f;x);{(0b;x)}]; $[r 0;.greenlit.say[place;"value";enlist r 1];.greenlit.fault[place;r 1]]};
.greenlit.call:{[place;name;arguments] .greenlit.try[place;{.[value x 0;x 1]};(name;arguments)]};
.greenlit.shape:{$[0h=type x;.z.s each x;99h=type x;(99h;.z.s key x;.z.s value x);98h=type x;(98h;.z.s flip x);type x]};
.greenlit.expression:{[place;text] .greenlit.try[place;{r:value x;(.greenlit.shape r;r)};text]};
.greenlit.shown:{[place;text] .greenlit.try[place;{r:.Q.s value x;(.greenlit.shape r;r)};text]};
.greenlit.load:{[file] if[10h=type r:@[{system "l ",x;0b};file;{x}];.greenlit.fault[-1;r];exit 1]};
-2 "[\"ready\",0.0]";
