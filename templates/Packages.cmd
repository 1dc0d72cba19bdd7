@echo off
rem Made by nanovhd. SetupComplete.cmd calls this once: it installs the packages beside it, and sees to a restart if one is wanted.
setlocal
set LOG=%SystemRoot%\Setup\Scripts\packages.log
if /i "%~1"=="restart" goto restart
set FAILED=0
set WANTED=0
echo "Packages begin, %DATE% %TIME%" >> "%LOG%"
{packages}
echo "Packages end, %DATE% %TIME%" >> "%LOG%"
if %WANTED%==1 goto ask
exit /b %FAILED%

:add
echo "Adding %~1, %TIME%" >> "%LOG%"
dism.exe /Online /Add-Package "/PackagePath:%~dp0%~1" /NoRestart /Quiet %~2 >> "%LOG%" 2>&1
set CODE=%ERRORLEVEL%
echo "Exit code %CODE%" >> "%LOG%"
if "%CODE%"=="3010" set WANTED=1
if "%CODE%"=="3010" set CODE=0
if not "%CODE%"=="0" set FAILED=1
if not "%CODE%"=="0" echo "%~1 is not installed, and stays in %~dp0" >> "%LOG%"
if not "%CODE%"=="0" exit /b
if exist "%~dp0%~1\" rd /s /q "%~dp0%~1"
if exist "%~dp0%~1" del /f /q /a "%~dp0%~1"
exit /b

:ask
rem A restart from within SetupComplete.cmd leaves a setup that is not complete: another process waits for the end of both.
echo "A restart is wanted, when setup is complete" >> "%LOG%"
schtasks.exe /Create /F /TN "nanovhd restart" /RU SYSTEM /SC ONCE /ST 00:00 /TR "cmd.exe /d /c %~f0 restart %FAILED%" >> "%LOG%" 2>&1
if not errorlevel 1 schtasks.exe /Run /TN "nanovhd restart" >> "%LOG%" 2>&1
if errorlevel 1 start "" /b cmd.exe /d /c "%~f0" restart %FAILED%
if %FAILED%==1 exit /b 1
exit /b 3010

:restart
set TRIES=0
:wait
ping.exe -n 6 127.0.0.1 >nul 2>&1
if exist "%SystemRoot%\Setup\Scripts\setupcomplete.running" goto again
set STATE=
for /f "tokens=3" %%v in ('reg.exe query HKLM\SYSTEM\Setup /v SystemSetupInProgress 2^>nul') do set STATE=%%v
if "%STATE%"=="0x0" goto now
:again
set /a TRIES+=1
if %TRIES% LSS 1440 goto wait
echo "Setup is not complete after two hours: the restart is left to you" >> "%LOG%"
schtasks.exe /Delete /F /TN "nanovhd restart" >nul 2>&1
exit

:now
echo "Restart, %DATE% %TIME%" >> "%LOG%"
schtasks.exe /Delete /F /TN "nanovhd restart" >nul 2>&1
shutdown.exe /r /t 5 >> "%LOG%" 2>&1 || powershell.exe -NoProfile -Command Restart-Computer -Force >> "%LOG%" 2>&1
if "%~2"=="0" (rd /s /q "%~dp0." & exit) else exit
